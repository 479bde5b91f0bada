"""Open-vocabulary detectors of the real classes with few random weights, as files."""

import json
import string
from pathlib import Path

import torch


def write_tiny_detector(name: str, folder: Path) -> Path:
    """Write what a detector on the hub consists of: configuration, safetensors, tokenizer."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    {"grounding-dino": _grounding_dino, "owlv2": _owlv2}[name](folder)
    return folder


def _grounding_dino(folder: Path) -> None:
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "cat", "dog", "?"]
    (folder / "vocab.txt").write_text("\n".join(words))
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(vocab_size=16, hidden_size=32, max_position_embeddings=32, **small),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        encoder_n_points=2,
        decoder_n_points=2,
        max_text_len=16,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    pixels = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    GroundingDinoProcessor(pixels, tokenizer).save_pretrained(folder)


def _owlv2(folder: Path) -> None:
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    letters = [*string.ascii_lowercase, *(f"{one}</w>" for one in string.ascii_lowercase)]
    words = [*letters, "!", "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = Owlv2Config(
        text_config={
            **small,
            "vocab_size": 64,
            "max_position_embeddings": 32,
            "bos_token_id": 53,
            "eos_token_id": 54,
            "pad_token_id": 0,
        },
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    pixels = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=32)
    Owlv2Processor(pixels, tokenizer).save_pretrained(folder)
