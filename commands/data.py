"""`python course.py data`: list the datasets, download them, verify them."""

import argparse

from util.datasets import all_datasets
from util.errors import UserError, main_guard
from util.paths import data_root, shown


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.py data", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="dataset to download; none lists them all")
    parser.add_argument(
        "--subset", action="append", metavar="N", help="only this part (luna: 0 to 9); repeatable"
    )
    parser.add_argument("--check", action="store_true", help="verify what is there instead of downloading")
    options = parser.parse_args(arguments)
    known = all_datasets()
    for name in options.names:
        if name not in known:
            raise UserError(f"there is no dataset '{name}'; there are {', '.join(sorted(known))}")
    if not options.names:
        print_list(known.values())
        return
    for name in options.names:
        dataset = known[name]
        if options.check:
            for line in dataset.check():
                print(line)
            continue
        parts = [f"subset{n}" if n.isdigit() else n for n in options.subset] if options.subset else None
        print(f"{name}: complete in {shown(dataset.download(parts))}")


def print_list(datasets):
    print(f"data root (COURSE_DATA): {shown(data_root())}\n")
    for dataset in datasets:
        real = dataset.find_real()
        if real:
            state = f"real files in {shown(real)}"
        elif dataset.generate is None:
            state = "not there"
        else:
            state = "generated" if dataset.generated_path().exists() else "will be generated on first use"
        size = sum(source.size for source in dataset.sources)
        extra = f"; real: {size / 1e9:.2f} GB, {dataset.licence}" if dataset.sources else ""
        print(f"{dataset.name:10} {dataset.about}\n{'':10} {state}{extra}")


if __name__ == "__main__":
    main_guard(main)
