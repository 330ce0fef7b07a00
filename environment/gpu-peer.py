"""What PyTorch and transformers reach on this machine at the shapes of Janus-Pro and Qwen2.5-VL: the peer of gpu-check.sh.

    python3 gpu-peer.py [--device cuda] [--small] [--only info,decode,train,judge]

One line of json a figure, named as the kit's are. Weights are random and made on the device; nothing is downloaded. Needs torch, transformers with
Janus and Qwen2.5-VL, and peft for the training. The decoding steps are those of transformers' own modules with its dynamic cache, the training step is
forward, backward and a fused AdamW over a LoRA of rank 16 with activations computed again, the judge's pass goes to the first token of its answer.
"""
import argparse
import gc
import json
import statistics
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--small", action="store_true", help="few weights, so that a CPU can try the script")
parser.add_argument("--only", default="info,decode,train,judge")
options = parser.parse_args()


def say(**figure):
    print(json.dumps(figure), flush=True)


try:
    import torch
    import transformers
    from transformers import JanusConfig, JanusForConditionalGeneration, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.cache_utils import DynamicCache
except ImportError as missing:
    say(part="info", error=f"this Python has no peer: {missing}")
    sys.exit(2)

BF16 = torch.bfloat16
device = torch.device(options.device)
on_gpu = device.type == "cuda"
small = options.small
CONTEXT, STEPS, WARM = 256, 48, 4
WORDS, CODES, IMAGE_TOKENS = (1000, 64, 16) if small else (102400, 16384, 576)


def language(shape):
    if small:
        return dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)
    wide = shape == "7b"
    return dict(hidden_size=4096 if wide else 2048, intermediate_size=11008 if wide else 5632, num_hidden_layers=30 if wide else 24,
                num_attention_heads=32 if wide else 16, num_key_value_heads=32 if wide else 16)


def wait():
    if on_gpu:
        torch.cuda.synchronize(device)


def clock(work, repeats=3, warm=1):
    """Median seconds of some work."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(repeats):
        wait()
        begin = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def clear():
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()


def build(kind, config):
    """A model whose weights never were anywhere but on the device."""
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(BF16)
    try:
        with torch.device("meta"):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    model.to_empty(device=device)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.02)
        for name, buffer in model.named_buffers():
            if "inv_freq" in name:  # what rotates positions is made, not loaded
                steps = torch.arange(buffer.numel(), device=device, dtype=torch.float32) / buffer.numel()
                buffer.data = torch.pow(torch.tensor(1e4, device=device), -steps)
            elif buffer.is_floating_point():
                buffer.zero_()
    for module in model.modules():
        if hasattr(module, "original_inv_freq"):
            module.original_inv_freq = module.inv_freq
    return model.eval()


def janus(shape):
    width = language(shape)["hidden_size"]
    return build(JanusForConditionalGeneration, JanusConfig(
        text_config=dict(model_type="llama", vocab_size=WORDS, max_position_embeddings=16384, **language(shape)),
        vision_config=dict(hidden_size=64 if small else 1024, num_hidden_layers=2 if small else 24, num_attention_heads=4 if small else 16,
                           projection_dim=width, depth=2),
        vq_config=dict(num_embeddings=CODES, projection_dim=width, image_token_embed_dim=width, num_hidden_layers=2, base_channels=32 if small else 128),
        tie_word_embeddings=False))


def info():
    say(part="info", torch=torch.__version__, transformers=transformers.__version__,
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu")


@torch.no_grad()
def decode():
    for shape in ("1b", "7b"):
        model = janus(shape)
        decoder = model.model.language_model

        def one(ids, cache, image, guided):
            vectors = model.prepare_embeddings_for_image_generation(ids) if image else decoder.embed_tokens(ids)
            last = decoder(inputs_embeds=vectors, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
            logits = model.model.generation_head(last) if image else model.lm_head(last)
            if guided:
                with_text, without = logits.chunk(2)
                logits = torch.lerp(without, with_text, 5.0)
            drawn = torch.multinomial(torch.softmax(logits.float(), -1), 1)
            return drawn.repeat(2, 1) if guided else drawn

        def seconds(rows, image, guided):
            cache = DynamicCache()
            decoder(inputs_embeds=decoder.embed_tokens(torch.randint(10, WORDS, (rows, CONTEXT), device=device)), past_key_values=cache,
                    use_cache=True)
            ids = torch.randint(0, CODES, (rows, 1), device=device)
            for step in range(WARM + STEPS):
                if step == WARM:
                    wait()
                    begin = time.perf_counter()
                ids = one(ids, cache, image, guided)
            wait()
            return (time.perf_counter() - begin) / STEPS

        for batch in (1, 16) if small else (1, 16, 64):
            for phase, guided in (("text", False), ("image", False), ("image", True)):
                clear()
                rows = batch * (2 if guided else 1)
                took = min(seconds(rows, phase == "image", guided) for _ in range(2))
                say(part="decode", shape=shape, batch=batch, phase=phase, guided=guided, ms_per_step=1e3 * took, tokens_per_s=batch / took)
        del model, decoder, one, seconds
        clear()


def train():
    from peft import LoraConfig, get_peft_model
    for shape in ("1b", "7b"):
        wrapped = get_peft_model(janus(shape), LoraConfig(
            r=16, lora_alpha=32, target_modules=r".*language_model\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj"))
        model = wrapped.base_model.model
        decoder = model.model.language_model
        decoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        trained = [weight for name, weight in wrapped.named_parameters() if "lora_" in name]
        for weight in wrapped.parameters():
            weight.requires_grad_(False)
        for weight in trained:
            weight.requires_grad_(True)
        optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=on_gpu)
        loss_of = torch.nn.functional.cross_entropy
        for rows in (2, 4):
            words = torch.randint(10, WORDS, (rows, 20 if small else 124), device=device)
            codes = torch.randint(0, CODES, (rows, IMAGE_TOKENS), device=device)
            split = words.shape[1]

            def step():
                vectors = torch.cat((decoder.embed_tokens(words), model.prepare_embeddings_for_image_generation(codes)), 1).detach()
                hidden = decoder(inputs_embeds=vectors.requires_grad_(), use_cache=False).last_hidden_state
                text = loss_of(model.lm_head(hidden[:, : split - 1]).float().flatten(0, 1), words[:, 1:].flatten())
                image = loss_of(model.model.generation_head(hidden[:, split - 1: -1]).float().flatten(0, 1), codes.flatten())
                (text + image).backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            clear()
            took = clock(step)
            tokens = rows * (split + IMAGE_TOKENS)
            say(part="train", shape=shape, lora=True, rows=rows, tokens=tokens, ms=1e3 * took, tokens_per_s=tokens / took)
        del wrapped, model, decoder, trained, optimizer, step
        clear()


@torch.no_grad()
def judge():
    text = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2) if small else \
        dict(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4)
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    axes = [half // 4, (half - half // 4) // 2, (half - half // 4) // 2]
    config = Qwen2_5_VLConfig(
        text_config=dict(vocab_size=151936 if not small else 152000, rope_theta=1e6,
                         rope_scaling=dict(type="mrope", rope_type="default", mrope_section=axes), **text),
        vision_config=dict(depth=2 if small else 32, hidden_size=64 if small else 1280, intermediate_size=96 if small else 3420,
                           num_heads=4 if small else 16, out_hidden_size=text["hidden_size"],
                           fullatt_block_indexes=[1] if small else [7, 15, 23, 31]),
        tie_word_embeddings=False)
    model = build(Qwen2_5_VLForConditionalGeneration, config)
    side = 4 if small else 28
    for images in (2, 8) if small else (8, 64):
        ids = torch.cat((torch.randint(10, 1000, (images, 39), device=device),
                         torch.full((images, 1), config.vision_start_token_id, device=device),
                         torch.full((images, side * side // 4), config.image_token_id, device=device),
                         torch.randint(10, 1000, (images, 80), device=device)), 1)
        given = dict(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=1, use_cache=True,
                     pixel_values=torch.randn(images * side * side, 1176, device=device, dtype=BF16),
                     image_grid_thw=torch.tensor([[1, side, side]] * images, device=device))
        if int(transformers.__version__.split(".")[0]) >= 5:  # asks which tokens are of images
            given["mm_token_type_ids"] = (ids == config.image_token_id).int()
        took = clock(lambda: model(**given).logits.argmax(-1))
        say(part="judge", shape="7b", images=images, tokens=ids.numel(), ms=1e3 * took, images_per_s=images / took)


if on_gpu and not torch.cuda.is_available():
    say(part="info", error="PyTorch finds no GPU")
    sys.exit(2)

failed = False
for part in options.only.split(","):
    try:
        {"info": info, "decode": decode, "train": train, "judge": judge}[part]()
    except Exception as error:  # one part's failure must not cost the others
        failed = True
        say(part=part, error=f"{type(error).__name__}: {str(error)[:300]}")
    clear()
sys.exit(1 if failed else 0)
