"""An image classifier trained on noisy labels by any method. See docs/quickstart.md.

python examples/train_robust_image.py --dataset digits --noise_type symmetric --noise_rate 0.4 --method nrd
python examples/train_robust_image.py examples/recipes/nrd_cifar10_symmetric_40.yaml --seed 1
"""

from hf_noisy.cli.train import ImageArguments, parse, train


def main() -> None:
    arguments, training = parse(ImageArguments)
    train(arguments, training)


if __name__ == "__main__":
    main()
