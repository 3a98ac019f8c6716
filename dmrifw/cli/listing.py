"""`dmrifw plugins`: what is installed."""

from __future__ import annotations

from rich.console import Console

from dmrifw import plugins


def list_plugins(console: Console) -> None:
    """Print every plugin with its version, and below it what it offers: kind, name, and what that is. Local."""
    described = plugins.describe()
    offers = [offer for plugin in described for offer in plugin.offers]
    kind_width = max((len(offer.kind) for offer in offers), default=0)
    name_width = max((len(offer.name) for offer in offers), default=0)
    for plugin in described:
        console.print(f"{plugin.name} {plugin.version}".rstrip())
        for offer in plugin.offers:
            line = f"  {offer.kind:{kind_width}}  {offer.name:{name_width}}  {offer.summary}"
            console.print(line, soft_wrap=True)
