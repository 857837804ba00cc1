"""Split documents into passages as RAGatouille does before it indexes them, so that another system gets the same.

Runs in an environment with RAGatouille. Each passage keeps the document_id of its document.
"""

import argparse
import json
import pathlib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=pathlib.Path, help="documents as JSON lines: document_id, text")
    parser.add_argument("--tokens", type=int, required=True, help="longest passage (max_document_length)")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="passages as JSON lines")
    args = parser.parse_args()

    from ragatouille.data import CorpusProcessor

    processor = CorpusProcessor()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(args.output.name + ".partial")
    passages = 0
    with args.collection.open(encoding="utf-8") as documents, partial.open("w", encoding="utf-8") as output:
        for line in documents:  # the splitter looks at one document at a time
            document = json.loads(line)
            for passage in processor.process_corpus(
                [document["text"]], [document["document_id"]], chunk_size=args.tokens
            ):
                row = {"document_id": passage["document_id"], "text": passage["content"]}
                output.write(json.dumps(row, ensure_ascii=False) + "\n")
                passages += 1
    partial.replace(args.output)
    print(f"{args.output}: {passages} passages")


if __name__ == "__main__":
    main()
