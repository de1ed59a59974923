"""The command ``minmax-certify CONFIG CHECKPOINT``: how far is a trained GAN from an equilibrium?"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence

from minmax_plugin.cli.arguments import add_options


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="minmax-certify",
        description="Test whether a trained GAN is an (epsilon, delta, omega) equilibrium, on a fixed sample.",
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--batch", type=int, default=512, help="real images in the sample (default: 512)")
    parser.add_argument("--samples", type=int, default=100, help="proposals (default: 100)")
    parser.add_argument("--epsilon", type=float, default=0.1, help="largest gradient norm in y (default: 0.1)")
    parser.add_argument("--delta", type=float, default=0.01, help="fall of f that counts (default: 0.01)")
    parser.add_argument("--omega", type=float, default=0.1, help="share of proposals that may improve (default: 0.1)")
    parser.add_argument("--proposal", choices=["gradient", "gaussian"], default="gradient", help="default: gradient")
    parser.add_argument("--step-size", type=float, default=0.1, help="of gradient proposals (default: 0.1)")
    parser.add_argument("--sigma", type=float, default=0.001, help="noise of proposals, in weights (default: 0.001)")
    parser.add_argument("--eta", type=float, default=0.05, help="step size of the ascents (default: 0.05)")
    parser.add_argument("--max-ascent-steps", type=int, default=50, help="cap of each ascent (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of sample, noise and proposals (default: 0)")
    add_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. It returns 0 if the certificate holds, 1 if not, 2 if an input is wrong."""
    settings = vars(parse_args(argv))
    config, options, checkpoint, size = (settings.pop(n) for n in ("config", "cfg_options", "checkpoint", "batch"))

    from minmax_plugin.mmgen.certify import certify_gan, load_trained

    try:
        model, batch = load_trained(config, options, checkpoint, size, settings["seed"])
        certificate = certify_gan(model, batch, **settings)
    except ValueError as error:
        print(f"minmax-certify: error: {error}", file=sys.stderr)
        return 2
    found = {**dataclasses.asdict(certificate), "share": certificate.share}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}
    images = min(len(part) for part in batch.values() if hasattr(part, "shape"))  # the data may have fewer than asked
    print(json.dumps({**settings, "sample": images, **finite}, indent=2))
    print(
        f"An estimate, on a fixed sample in inference mode: {'an' if certificate.holds else 'not shown to be an'} "
        f"equilibrium ({certificate.reason}).",
        file=sys.stderr,
    )
    return 0 if certificate.holds else 1


if __name__ == "__main__":
    sys.exit(main())
