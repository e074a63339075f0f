"""Score a saved folder with nothing but transformers, of whatever version is installed here.

python with_transformers.py out/interop/default.json: alone, in a batch padded on the right, on the left, too long.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main(file):
    expected = json.loads(Path(file).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(expected["folder"])
    model = AutoModelForSequenceClassification.from_pretrained(expected["folder"], torch_dtype=torch.float32).eval()
    texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in expected["conversations"]]

    def scores(some, **how):
        with torch.no_grad():  # with special tokens, as RewardBench does; the tokenizer adds none
            return model(**tokenizer(some, truncation=True, return_tensors="pt", **how)).logits[:, 0]

    same_ids = all(tokenizer(text, truncation=True)["input_ids"] == ids for text, ids in zip(texts, expected["ids"]))
    found = {"alone": torch.cat([scores([text]) for text in texts]), "padded": scores(texts, padding=True)}
    if expected["left"]:
        tokenizer.padding_side = "left"
        found["padded on the left"] = scores(texts, padding=True)
    worst = {how: (rewards - torch.tensor(expected["rewards"])).abs().max().item() for how, rewards in found.items()}
    print(f"same tokens: {same_ids}; largest difference: " + ", ".join(f"{how} {d:.1e}" for how, d in worst.items()))
    sys.exit(not same_ids or max(worst.values()) > 1e-4)


if __name__ == "__main__":
    main(sys.argv[1])
