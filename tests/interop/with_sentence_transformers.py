"""Score with a CrossEncoder of sentence-transformers, which is given chat messages: python with_... out/interop/qwen.json"""

import json
import sys
from pathlib import Path

from sentence_transformers import CrossEncoder


def main(file):
    expected = json.loads(Path(file).read_text(encoding="utf-8"))
    model = CrossEncoder(expected["folder"], device="cpu")
    found = model.predict(expected["conversations"], show_progress_bar=False, batch_size=4)
    worst = max(abs(a - b) for a, b in zip(found.tolist()[:-1], expected["rewards"]))  # the last is too long for it
    print(f"largest difference {worst:.1e}")
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main(sys.argv[1])
