"""Write the resolved configuration as YAML, every default filled in."""

import argparse
import json
import pathlib

import yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content", required=True, help="the resolved configuration as JSON")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    text = yaml.safe_dump(json.loads(args.content), sort_keys=False, allow_unicode=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text("# The configuration in use, defaults filled in. Written before work starts.\n" + text)
    partial.replace(args.output)


if __name__ == "__main__":
    main()
