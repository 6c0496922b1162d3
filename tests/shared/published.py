"""Public data sets of posts in the layouts in which they are released, tiny and drawn here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image

ASPECTS = "index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
ASPECTS_TEST = "index\t#1 ImageID\t#2 String\t#2 String"  # the published header lacks a column
CRISIS = "event_name\ttweet_id\timage_id\ttweet_text\timage\tlabel\tlabel_text\tlabel_image\tlabel_text_image"
ANNOTATIONS = "tweet_id\timage_id\ttext_info\ttext_human\ttext_human_conf\ttweet_text\timage_url\timage_path"
FAKEDDIT = (
    "\tauthor\tclean_title\tcreated_utc\tdomain\thasImage\tid\timage_url\tlinked_submission_id\tnum_comments\tscore"
    "\tsubreddit\ttitle\tupvote_ratio\t2_way_label\t3_way_label\t6_way_label"
)


def write_text(path: Path, *lines: str) -> None:
    """Write a file of these lines, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def draw(folder: Path, *names: str) -> None:
    """Images of one colour each, which is that of their name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        red, green, blue = hashlib.blake2b(name.encode(), digest_size=3).digest()
        Image.new("RGB", (8, 8), (red, green, blue)).save(folder / name)


def write_twitter(root: Path, *, more: int = 0) -> None:
    """Twitter-2015 as tables and as text files; two posts of train are about one tweet. Each split has `more` posts."""
    draw(root / "twitter2015_images", "1860.jpg", "71.jpg", "O_3.jpg", "16_05_01_4.jpg")
    folder = root / "twitter2015"
    posts = {
        "train": [
            ('RT @ fan : Met $T$ with Anna , " wow !', "Joe Johnson", 2, "1860.jpg"),
            ('RT @ fan : Met Joe Johnson with $T$ , " wow !', "Anna", 1, "1860.jpg"),
            ("$T$ lost again", "# Preds", 0, "71.jpg"),
        ],
        "dev": [("$T$", "Sherlock Holmes", 0, "O_3.jpg")],
        "test": [("The $T$ show goes on", "Late", 1, "16_05_01_4.jpg")],
    }
    for split, rows in posts.items():
        draw(root / "twitter2015_images", *(f"{split}_{number}.jpg" for number in range(more)))
        rows += [(f"{split} {number} : so $T$", "that", number % 3, f"{split}_{number}.jpg") for number in range(more)]
        header = ASPECTS_TEST if split == "test" else ASPECTS
        table = [
            f"{number}\t{label}\t{image}\t{text}\t{aspect}"
            for number, (text, aspect, label, image) in enumerate(rows, 1)
        ]
        write_text(folder / f"{split}.tsv", header, *table)
        lines = [line for text, aspect, label, image in rows for line in (f"{text} ", aspect, str(label - 1), image)]
        write_text(folder / f"{split}.txt", *lines)


def write_mmsd(root: Path) -> None:
    """MMSD 2.0; one image was not downloaded."""
    draw(root / "data/dataset_image", "915657464401580032.jpg", "854678856724340736.jpg", "904892917277274112.jpg")
    posts = {
        "train": [(915657464401580032, 'whew ... <num> miles , so " fun " .', 1), (904892917277274112, "nice .", 0)],
        "valid": [(854678856724340736, "oh , good .", 1)],
        "test": [(927373534652805120, "be different .", 0)],
    }
    for split, rows in posts.items():
        found = [{"image_id": id, "text": text, "label": label} for id, text, label in rows]
        write_text(root / f"data/text_json_final/{split}.json", json.dumps(found))


def write_crisis(root: Path) -> None:
    """CrisisMMD: the splits of two tasks, and the annotations of two events; one tweet has two images."""
    place = "data_image/california_wildfires/10_10_2017"
    ids = ["917791291823591425_0", "917791291823591425_1", "917791044158185473_0", "917793137925459968_0"]
    draw(root / "CrisisMMD_v2.0" / place, *(f"{id}.jpg" for id in ids))

    def row(id: str, text: str, label: str, by_image: str) -> str:
        agree = "Positive" if label == by_image else "Negative"
        tweet = id.partition("_")[0]
        return f"california_wildfires\t{tweet}\t{id}\t{text}\t{place}/{id}.jpg\t{label}\t{label}\t{by_image}\t{agree}"

    yes, no, fire = "informative", "not_informative", 'RT @Cal_OES: PLS SHARE: "fires" https://t.co/r89LKpjLPj'
    folder = root / "crisismmd_datasplit_all"
    task = "task_informative_text_img"
    write_text(folder / f"{task}_train.tsv", CRISIS, row(ids[0], fire, yes, yes), row(ids[1], fire, yes, no))
    write_text(folder / f"{task}_dev.tsv", CRISIS, row(ids[2], "so sad", no, no))
    write_text(folder / f"{task}_test.tsv", CRISIS, row(ids[3], "smoke", yes, yes))
    header = CRISIS.rpartition("\tlabel_text\t")[0]
    for split, id in zip(("train", "dev", "test"), (ids[0], ids[2], ids[3]), strict=True):
        cells = f"california_wildfires\t{id[:-2]}\t{id}\t{fire}\t{place}/{id}.jpg\tsevere_damage"
        write_text(folder / f"task_damage_text_img_{split}.tsv", header, cells)
    for event, id in (("california_wildfires", ids[0]), ("hurricane_irma", ids[2])):
        cells = (
            f"{id[:-2]}\t{id}\t{yes}\tother_relevant_information\t1.0\t{fire}\thttp://pbs/{id}.jpg\t{place}/{id}.jpg"
        )
        write_text(root / f"CrisisMMD_v2.0/annotations/{event}_final_data.tsv", ANNOTATIONS, cells)


def write_memes(root: Path) -> None:
    """Hateful Memes of both phases: a meme of dev_seen is in dev_unseen, too, and names of images have zeros before."""
    folder = root / "hateful_memes"
    draw(folder, *(f"img/{name}.png" for name in ("42953", "23058", "01235", "08291", "16395")))

    def meme(id: int, text: str, label: int | None) -> dict[str, Any]:
        found = {"id": id, "img": f"img/{id:05}.png", "label": label, "text": text}
        return {name: value for name, value in found.items() if value is not None}

    files = {
        "train": [
            meme(42953, "its their character not their color that matters", 0),
            meme(23058, "don't be afraid", 1),
        ],
        "dev_seen": [meme(8291, "white people is this a shooting range", 1)],
        "dev_unseen": [meme(8291, "white people is this a shooting range", 1)],
        "test_seen": [meme(16395, "handjobs sold separately", 0)],
        "test_unseen": [meme(1235, "when you're invited", 1)],
    }
    for name, memes in files.items():
        write_text(folder / f"{name}.jsonl", *map(json.dumps, memes))


def write_fakeddit(root: Path) -> None:
    """Fakeddit: a post of train lacks its title, another its image."""
    draw(root / "public_image_set", "awxhir.jpg", "cvm5uy4.jpg", "98pbid.jpg", "8f73s7.jpg")

    def row(number: int, id: str, title: str, two: int, three: int, six: int) -> str:
        cells = [
            "someone",
            title,
            "1551641000.0",
            "i.redd.it",
            "True",
            id,
            f"https://i.redd.it/{id}.jpg",
            "",
            "2.0",
            "12",
        ]
        return "\t".join([str(number), *cells, "pareidolia", title.title(), "0.84", str(two), str(three), str(six)])

    folder = root / "multimodal_only_samples"
    train = [row(0, "awxhir", 'my walgreens "mucinex was engraved', 1, 0, 0), row(1, "cvm5uy4", "", 0, 2, 4)]
    write_text(folder / "multimodal_train.tsv", FAKEDDIT, *train, row(2, "gone00", "a sink", 0, 2, 2))
    write_text(
        folder / "multimodal_validate.tsv", FAKEDDIT, row(0, "98pbid", "this concerned sink with a tiny hat", 0, 2, 2)
    )
    write_text(folder / "multimodal_test_public.tsv", FAKEDDIT, row(0, "8f73s7", "crowd", 1, 0, 0))


def write_mvsa(root: Path) -> None:
    """MVSA-Multiple: the labels of three annotators; a post has no majority, another is contradictory."""
    pairs = {
        "3": ("positive,neutral", "positive,positive", "negative,neutral"),
        "4": ("positive,neutral", "neutral,neutral", "negative,neutral"),
        "5": ("positive,negative", "positive,negative", "neutral,negative"),
        "8": ("neutral,negative", "neutral,negative", "neutral,neutral"),
    }
    folder = root / "MVSA"
    draw(folder / "data", *(f"{id}.jpg" for id in pairs))
    for id in pairs:
        write_text(folder / f"data/{id}.txt", f"RT @someone: post {id} #tag")
    header = "ID\ttext,image\ttext,image\ttext,image"
    write_text(folder / "labelResultAll.txt", header, *("\t".join([id, *found]) for id, found in pairs.items()))
