#!/usr/bin/env python3
"""Holds what the kit writes against transformers and PEFT, and what pyarrow writes against the kit; on a CPU or a GPU.

Needs torch, transformers 5, peft, pyarrow and pillow. With KIT for the kit's command ("dotnet run -c Release --project
lib/ReasonGen.Host --") and WORK for an empty folder, from the top of the repository:

    python3 environment/peft-check.py base tests/golden WORK      a small Janus of random weights, written by transformers
    python3 environment/peft-check.py data tests/golden WORK      SFT data in the published schema, written by pyarrow
    KIT train sft --model WORK/base --data WORK/train.parquet --validation WORK/held.parquet --steps 4 \\
        --set sft.learningRate=0.01 --set data.samplesPerStep=8 --set lora.rank=4 --out WORK/lora
    KIT train sft … --set lora=null --out WORK/full               the same, all weights
    KIT merge WORK/lora/model --out WORK/merged
    python3 environment/peft-check.py check tests/golden WORK     transformers and PEFT load all of it; ends with ALL RIGHT
"""
import io
import os
import random
import shutil
import sys

if len(sys.argv) != 4 or sys.argv[1] not in ("base", "data", "check"):
    sys.exit(__doc__)
step, golden, work = sys.argv[1:]


def at(*parts):
    return os.path.join(work, *parts)


def models():
    import torch
    from transformers import JanusConfig, JanusForConditionalGeneration
    torch.manual_seed(1)
    return torch, JanusConfig, JanusForConditionalGeneration

if step == "base":
    torch, JanusConfig, Janus = models()
    config = JanusConfig.from_pretrained(os.path.join(golden, "janus_hf/model"))
    config.text_config.vocab_size = 469
    config.text_config.bos_token_id, config.text_config.eos_token_id, config.text_config.pad_token_id = 460, 461, 462
    config.image_token_id = 465
    config.text_config.tie_word_embeddings = False
    config.tie_word_embeddings = False
    model = Janus(config).float()
    for name, value in model.named_parameters():
        if value.dim() > 1:
            torch.nn.init.normal_(value, std=0.05)
    os.makedirs(at("base"), exist_ok=True)
    model.save_pretrained(at("base"))
    for name in ("preprocessor_config.json", "generation_config.json"):
        shutil.copy(os.path.join(golden, "janus_hf/model", name), at("base", name))
    shutil.copy(os.path.join(golden, "tokenizer/janus_style.tokenizer.json"), at("base", "tokenizer.json"))
    print("base", sum(v.numel() for v in model.parameters()), "parameters", sorted(os.listdir(at("base"))))
elif step == "data":
    import pyarrow as pa, pyarrow.parquet as pq
    from PIL import Image
    random.seed(1)
    def row(i):
        image = Image.effect_noise((80 + i, 64), 60).convert("RGB")
        file = io.BytesIO()
        image.save(file, "PNG" if i % 2 else "JPEG")
        colour = random.choice(["red", "green", "blue"])
        return {"image": {"bytes": file.getvalue(), "path": f"{i}.png"}, "brief_caption": f"a {colour} ball",
                "detailed_caption": f"A {colour} ball lies on the grass, and the sun shines on it.",
                "augmented_prompts": {"short_caption": f"{colour} ball", "paraphrases": [f"one {colour} ball", "ball"],
                    "varied_captions": ["a ball on grass"], "tags": ["ball", colour], "object_prompts": ["a ball"]}}
    for name, count in (("train", 48), ("held", 12)):
        pq.write_table(pa.Table.from_pylist([row(i) for i in range(count)]), at(name + ".parquet"), row_group_size=16, compression="zstd")
    print("data", os.path.getsize(at("train.parquet")))
elif step == "check":
    torch, JanusConfig, Janus = models()
    from peft import PeftModel
    ids = torch.randint(0, 400, (2, 12))
    def load(folder):
        model, told = Janus.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        print(folder, "missing", told["missing_keys"], "unexpected", told["unexpected_keys"], "mismatched", told.get("mismatched_keys"))
        assert not told["missing_keys"] and not told["unexpected_keys"] and not told.get("mismatched_keys"), told
        return model.eval()
    def logits(model):
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    base = load(at("base"))
    before = logits(base)
    whole = load(at("merged"))
    full = load(at("full/model"))
    adapter = PeftModel.from_pretrained(load(at("base")), at("lora/model"))
    sizes = {n: v.abs().max().item() for n, v in adapter.named_parameters() if "lora_B" in n}
    print("additions", len(sizes), "of which not zero", sum(v > 0 for v in sizes.values()))
    assert sizes and all(v > 0 for v in sizes.values())
    with_adapter = logits(adapter)
    merged = adapter.merge_and_unload()
    print("adapter moves logits by", (with_adapter - before).abs().max().item())
    print("merged by the kit against PEFT, logits", (logits(whole) - with_adapter).abs().max().item())
    mine, theirs = whole.state_dict(), merged.state_dict()
    assert mine.keys() == theirs.keys()
    print("weights", max((mine[n] - theirs[n]).abs().max().item() for n in mine))
    assert (logits(whole) - with_adapter).abs().max() < 1e-4 and (with_adapter - before).abs().max() > 1e-4
    print("full training moves logits by", (logits(full) - before).abs().max().item())
    assert (logits(full) - before).abs().max() > 1e-4
    print("ALL RIGHT")
