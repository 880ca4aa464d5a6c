"""DyGEN on text with noisy labels; no true label is read before the last evaluation. See docs/dygen.md.

python examples/run_dygen.py --dataset docs --output_dir output/docs
python examples/run_dygen.py --dataset reviews.csv --text_column text --label_column stars --output_dir output/reviews
python examples/run_dygen.py examples/recipes/dygen_trec.yaml
"""

from hf_noisy.cli.run_dygen import DyGenArguments, parse, run_dygen


def main() -> None:
    arguments, training = parse(DyGenArguments)
    run_dygen(arguments, training)


if __name__ == "__main__":
    main()
