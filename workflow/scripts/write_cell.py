"""Write a resolved cell as JSON; a file that already holds the same is left untouched."""

import argparse
import json
import pathlib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content", required=True, help="the cell as JSON")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    text = json.dumps(json.loads(args.content), indent=1, sort_keys=True) + "\n"
    if args.output.exists() and args.output.read_text() == text:
        return
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text(text)
    partial.replace(args.output)


if __name__ == "__main__":
    main()
