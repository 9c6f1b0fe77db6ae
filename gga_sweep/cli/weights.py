"""The command that downloads published weights, which a run never does."""

from __future__ import annotations

from typing import Annotated

import typer

from gga_sweep.cli.console import err, out


def fetch(
    network: Annotated[str, typer.Argument(help="As training.network, e.g. timm/resnet50.ram_in1k or resnet50.")],
    weights: Annotated[str, typer.Option(help="As training.weights, e.g. IMAGENET1K_V2 of resnet50.")] = "pretrained",
) -> None:
    """Download the published weights of a network once, into the cache that runs read them from."""
    from gga_sweep.networks.choice import published_file
    from gga_sweep.networks.published import fetch_file

    file = published_file(network, weights)
    err.print(f"Source: {file.place}", highlight=False, markup=False, soft_wrap=True)
    out.print(str(fetch_file(file)), highlight=False, markup=False, soft_wrap=True)
