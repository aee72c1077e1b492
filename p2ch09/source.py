"""Where LUNA16 comes from: the real scans on Zenodo, subset by subset, or generated patients."""

from pathlib import Path

from util.datasets import Dataset

# The course's own cohort, which stands in for LUNA16 until a real copy is there. LUNA16 has four
# nodules in three scans; here every scan has three scans' worth, about 250 in all, so that few scans
# teach enough. Their sizes and looks, and the candidates, are distributed as LUNA16's.
COURSE_SCANS = 64
COURSE_SEED = 16
COURSE_RICHNESS = 3


def generate_course_cohort(folder: Path):
    """Fill `folder` with the course's generated cohort, in LUNA16's layout."""
    from p2ch09.phantom import write_cohort

    write_cohort(folder, COURSE_SCANS, COURSE_SEED, richness=COURSE_RICHNESS)


class Luna16(Dataset):
    """LUNA16: any subset that is there counts, nested and partial copies are found."""

    def __init__(self):
        super().__init__(
            "luna",
            generate=generate_course_cohort,
            version="3",
            required=("subset[0-9]*/*.mhd", "annotations.csv", "candidates*.csv"),
            about="888 chest CT scans with 1,186 annotated lung nodules (LUNA16)",
            licence="CC BY 4.0",
        )
