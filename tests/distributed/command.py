"""The command `hf-noisy` as a module, which torchrun can start."""

from hf_noisy.cli.app import main

if __name__ == "__main__":
    main()
