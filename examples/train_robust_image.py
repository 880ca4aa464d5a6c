"""An image classifier trained on noisy labels by any method. See docs/quickstart.md.

python examples/train_robust_image.py --dataset digits --noise_type symmetric --noise_rate 0.4 --method nrd
python examples/train_robust_image.py examples/recipes/nrd_cifar10_symmetric_40.yaml --seed 1
"""

import json
import math
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from scipy.special import softmax
from torchvision.transforms import v2

from hf_noisy import DynamicsRecorder, NoisyTrainer, load_noisy_dataset
from hf_noisy.cli.recipes import keyword_arguments, parse_with_recipe
from hf_noisy.core.files import write_atomically
from hf_noisy.data import images
from hf_noisy.data.builders import cifar10, digits
from hf_noisy.data.views import ShiftAndFlip
from hf_noisy.methods import list_methods, make_method
from hf_noisy.models.preact_resnet import PreActResNetConfig
from hf_noisy.reports import memorisation_curve, score_epochs
from hf_noisy.reports.memorised import memorisation

PACKAGES = ("hf-noisy", "torch", "torchvision", "transformers", "datasets", "accelerate")
SOURCE = ("noise_type", "noise_rate", "noise_seed", "image_column", "label_column")
TRAINING = ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "weight_decay", "lr_scheduler_type",
            "warmup_steps", "max_grad_norm", "bf16", "fp16")  # fmt: skip
SCALES = {"digits": (digits.MEAN, digits.STD), "cifar10": (cifar10.MEAN, cifar10.STD)}
VIEWS = ["none", "standard", "nrd_student", "augmix", "resized_crop", "augmix_crop"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Arguments:
    dataset: str = field(default="digits", metadata={"help": "digits, cifar10, folder of save_to_disk, or Hub"})
    method: str = field(default="cross_entropy", metadata={"help": ", ".join(["auto", *list_methods()])})
    method_args: list[str] = field(default_factory=list, metadata={"help": "of the method, such as decay=0.99"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "pretrained; default: --architecture"})
    architecture: str = field(default="resnet", metadata={"help": "from scratch: resnet or vit (both small), "
        "preact_resnet18, preact_resnet34, or a model of which only the configuration is taken"})  # fmt: skip
    image_size: int = field(default=32, metadata={"help": "height and width in pixels"})
    augmentation: str = field(default="standard", metadata={"help": "of training", "choices": VIEWS})
    second_view: str = field(default="augmix", metadata={"help": "if the method has one", "choices": [*VIEWS, "auto"]})
    momentum: float | None = field(default=None, metadata={"help": "SGD, all weights decay; default: see --optim"})
    nesterov: bool = field(default=False, metadata={"help": "with momentum"})
    lr_gamma: float | None = field(default=None, metadata={"help": "with momentum: factor at each milestone"})
    lr_milestones: list[int] | None = field(default=None, metadata={"help": "epochs done; default: every one"})
    image_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    label_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    noise_type: str | None = field(default=None, metadata={"help": "symmetric, asymmetric or instance, or of cifar10"})
    noise_rate: float | None = field(default=None, metadata={"help": "share of labels to flip, with noise_type"})
    noise_seed: int = field(default=0, metadata={"help": "seed of the flips"})
    max_train_samples: int | None = field(default=None, metadata={"help": "random training rows, by --seed"})
    max_test_samples: int | None = field(default=None, metadata={"help": "random test rows, by --seed"})
    max_watched_samples: int = field(default=5000, metadata={"help": "training rows predicted each epoch, or 0"})
    save_model: bool = field(default=False, metadata={"help": "leave the trained model in --output_dir"})


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def build_model(arguments, classes):
    auto, name, size = transformers.AutoModelForImageClassification, arguments.architecture, arguments.image_size
    if pretrained := arguments.model_name_or_path:
        return auto.from_pretrained(pretrained, num_labels=classes, ignore_mismatched_sizes=True)
    small = {
        "resnet": transformers.ResNetConfig(layer_type="basic", embedding_size=32, hidden_sizes=[32, 64, 128],
                                            depths=[1, 1, 1]),
        "vit": transformers.ViTConfig(image_size=size, patch_size=max(size // 8, 1), hidden_size=64,
                                      num_hidden_layers=4, num_attention_heads=4, intermediate_size=128),
        "preact_resnet18": PreActResNetConfig(),
        "preact_resnet34": PreActResNetConfig(depths=[3, 4, 6, 3]),
    }  # fmt: skip
    config = small.get(name) or transformers.AutoConfig.from_pretrained(name)
    config.num_labels, config.name_or_path = classes, ""  # nothing is loaded but the configuration
    # The order of memory in which convolutions are fastest.
    return auto.from_config(config).to(memory_format=torch.channels_last)


def make_view(name, size, mean, std, flip):
    crop = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(flip)]
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    return {
        "none": images.eval_transform(size, mean, std),
        "standard": images.standard_transform(size, mean, std, flip=flip),
        "nrd_student": images.nrd_student(size, mean, std, flip=flip),
        "augmix": images.augmix(size, mean, std),
        "resized_crop": v2.Compose([*crop, v2.ColorJitter(0.4, 0.4, 0.4, 0.2), *scale]),
        "augmix_crop": v2.Compose([v2.AugMix(), *crop, *scale]),
    }[name]


def published_optimizer(trainer, arguments):
    """SGD and the schedule of the papers: every weight decays, the learning rate falls after whole epochs."""
    args = trainer.args
    optimizer = torch.optim.SGD(trainer.model.parameters(), args.learning_rate, arguments.momentum,
                                weight_decay=args.weight_decay, nesterov=arguments.nesterov)  # fmt: skip
    if arguments.lr_gamma is None:
        return optimizer, None  # the schedule is that of --lr_scheduler_type
    epoch = math.ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps)
    milestones = [epoch * done for done in arguments.lr_milestones or range(1, math.ceil(args.num_train_epochs))]
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, arguments.lr_gamma)


def main() -> None:
    parser = transformers.HfArgumentParser((Arguments, transformers.TrainingArguments))
    parser.set_defaults(output_dir="output/robust_image", num_train_epochs=20, learning_rate=1e-3, save_strategy="no")
    parser.set_defaults(per_device_train_batch_size=64, per_device_eval_batch_size=256, logging_strategy="epoch")
    arguments, training = parse_with_recipe(parser)
    method_args = keyword_arguments(arguments.method_args)
    if arguments.method == "auto" and method_args:
        raise ValueError("method_args belong to a method that is named, and method 'auto' chooses one; leave them out")
    # What "auto" chooses is known once the trainer has looked at the rows.
    method = "auto" if arguments.method == "auto" else make_method(arguments.method, **method_args)

    def choose(dataset, limit):
        return dataset.select(np.sort(np.random.default_rng(training.seed).permutation(len(dataset))[:limit]))

    with training.main_process_first(desc="data"):
        data = load_noisy_dataset(arguments.dataset, **{name: getattr(arguments, name) for name in SOURCE})
        data = data if "test" in data else data["train"].train_test_split(0.2, seed=training.seed)
        train = choose(data["train"], arguments.max_train_samples)
        test = choose(data["test"], arguments.max_test_samples)
    splits = {"train": train, "test": test, "watched": choose(train, arguments.max_watched_samples)}

    mean, std = SCALES.get(arguments.dataset, IMAGENET)
    if arguments.model_name_or_path:
        processor = transformers.AutoImageProcessor.from_pretrained(arguments.model_name_or_path)
        mean, std = processor.image_mean, processor.image_std
    flip = 0.0 if arguments.dataset == "digits" else 0.5  # a mirrored 3 is no 3
    look, second = {"size": arguments.image_size, "mean": mean, "std": std, "flip": flip}, None
    wanted = getattr(method, "second_view", None)  # "auto" makes its own where it needs one
    if wanted and arguments.second_view == "auto":
        method.second_view = ShiftAndFlip(flip=flip)
    elif wanted:
        second = make_view(arguments.second_view, **look)

    def as_it_is(rows):
        return images.ImageViews(rows, make_view("none", **look))

    # After each epoch the recorder keeps what the model says of the test rows and of the watched training rows.
    transformers.set_seed(training.seed)
    classes = train.features["label"].num_classes
    views = images.ImageViews(train, make_view(arguments.augmentation, **look), second, seed=training.seed)
    recorder = DynamicsRecorder({name: as_it_is(splits[name]) for name in ("test", "watched") if len(splits[name])})
    model = build_model(arguments, classes)
    model.config.id2label = dict(enumerate(train.features["label"].names))  # before branches are made of it
    model.config.label2id = {name: label for label, name in model.config.id2label.items()}
    trainer = NoisyTrainer(model, training, train_dataset=views, method=method,
                           callbacks=[recorder], compute_metrics=accuracy)  # fmt: skip
    if arguments.momentum is not None:
        trainer.optimizer, trainer.lr_scheduler = published_optimizer(trainer, arguments)
    start, resume = time.perf_counter(), training.resume_from_checkpoint
    trainer.train(resume_from_checkpoint=str(resume).lower() == "true" or resume)
    seconds, output_dir = time.perf_counter() - start, Path(training.output_dir)

    # Only here are true labels read, where there are any. The best epoch is told, it chooses nothing.
    known = {name: "clean_label" in rows.features for name, rows in splits.items()}
    labelled = test.remove_columns("label").rename_column("clean_label", "label") if known["test"] else test
    metrics = trainer.evaluate(as_it_is(labelled))
    if arguments.save_model:
        trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    if arguments.save_model:  # what `pipeline` does to an image before the model sees it
        sides = {"height": arguments.image_size, "width": arguments.image_size}
        processor = transformers.ViTImageProcessor(size=sides, image_mean=list(mean), image_std=list(std))
        processor.save_pretrained(output_dir)
    said = {name: softmax(recorder.trajectories.logits(name), axis=-1) for name in recorder.datasets}
    results = {"dataset": arguments.dataset, "num_train": len(train), "num_test": len(test), "num_classes": classes}
    results |= {"method": arguments.method, "method_args": method_args, "citation": trainer.method.citation}
    if trainer.choice:
        results |= {"method": trainer.choice.method, "method_args": trainer.choice.arguments}
        results |= {"method_why": trainer.choice.why}
    results |= score_epochs(said["test"], np.array(labelled["label"]))
    # What else the method trains, such as a teacher: `eval_teacher_accuracy` of the trainer.
    others = {name[5:-9]: value for name, value in metrics.items() if name.endswith("_accuracy") and name[5:-9]}
    results |= {"test_accuracy_of_others": others, "test_labels": "true" if known["test"] else "given"}
    results |= {"selected_by": "last epoch; no true label was used", "noise_type": arguments.noise_type}
    rate = float((np.array(train["label"]) != np.array(train["clean_label"])).mean()) if known["train"] else None
    results |= {"noise_rate_asked": arguments.noise_rate, "noise_rate": rate}
    if known["train"] and "watched" in said:
        given, true = (np.array(splits["watched"][column]) for column in ("label", "clean_label"))
        curves = memorisation(said["watched"].mean(1), given, true)
        results["watched"] = {"rows": len(given), **curves.as_lists()}
        results |= {f"{name}_last": values[-1] for name, values in curves.as_lists().items()}
        memorisation_curve(curves.memorised, curves.corrected, curves.learned, output_dir / "memorisation.png",
                           test_accuracy=np.array(results["test_accuracy_by_epoch"]))  # fmt: skip
    results |= {"epochs": trainer.state.epoch, "learning_rate": training.learning_rate, "seconds": seconds}
    results |= {"seed": training.seed, "noise_seed": arguments.noise_seed, "device": str(training.device)}
    results |= {"training": {name: value for name, value in training.to_sanitized_dict().items() if name in TRAINING}}
    results |= {"versions": {name: version(name) for name in PACKAGES}, "arguments": vars(arguments)}
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2))
    print(*(f"{name:24}{value:.4f}" for name, value in results.items() if isinstance(value, float)), sep="\n")


if __name__ == "__main__":
    main()
