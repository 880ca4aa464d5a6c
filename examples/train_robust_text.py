"""A text classifier trained on noisy labels by any method: one class, tags or several classes. See docs/quickstart.md.

python examples/train_robust_text.py --dataset docs --method nct --method_args temperature=4 alpha_max=0.9
python examples/train_robust_text.py --dataset people.conll --test_file test.conll --method elr --missing_rate 0.3
python examples/train_robust_text.py recipe.yaml --seed 1
"""

from hf_noisy.cli.train import TextArguments, parse, train


def main() -> None:
    arguments, training = parse(TextArguments)
    train(arguments, training)


if __name__ == "__main__":
    main()
