"""The sizes in the config.json of each id of the Hugging Face hub that the registry names."""

from __future__ import annotations

from typing import Any

import transformers as hf

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
MINI = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
MPNET = hf.MPNetConfig(vocab_size=30527, max_position_embeddings=514)
XLMR = {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}
CLIP_LARGE = hf.CLIPConfig(
    text_config=LARGE | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    vision_config=LARGE | {"patch_size": 14},
)
QWEN = LARGE | {"num_hidden_layers": 28, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072}
GEMMA = {"hidden_size": 768, "num_hidden_layers": 24, "num_attention_heads": 3, "num_key_value_heads": 1}
GEMMA |= {"intermediate_size": 1152}
PUBLISHED: dict[str, Any] = {
    "facebook/dinov2-base": hf.Dinov2Config(image_size=518, patch_size=14),
    "facebook/dinov2-large": hf.Dinov2Config(**LARGE, image_size=518, patch_size=14),
    "facebook/dinov2-small": hf.Dinov2Config(**MINI | {"num_hidden_layers": 12}, image_size=518, patch_size=14),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": hf.DINOv3ViTConfig(
        hidden_size=768, num_attention_heads=12, intermediate_size=3072
    ),
    "facebook/dinov3-vits16-pretrain-lvd1689m": hf.DINOv3ViTConfig(),
    "google/siglip-base-patch16-224": hf.SiglipConfig(),
    "google/siglip2-base-patch16-224": hf.SiglipConfig(text_config={"vocab_size": 256000}),
    "google/vit-base-patch16-224-in21k": hf.ViTConfig(),
    "OFA-Sys/chinese-clip-vit-base-patch16": hf.ChineseCLIPConfig(vision_config={"patch_size": 16}),
    "openai/clip-vit-base-patch16": hf.CLIPConfig(vision_config={"patch_size": 16}),
    "openai/clip-vit-base-patch32": hf.CLIPConfig(),
    "openai/clip-vit-large-patch14": CLIP_LARGE,
    "BAAI/bge-base-zh-v1.5": hf.BertConfig(vocab_size=21128),
    "BAAI/bge-m3": hf.XLMRobertaConfig(**LARGE, **XLMR | {"max_position_embeddings": 8194}),
    "BAAI/bge-small-en-v1.5": hf.BertConfig(**MINI | {"num_hidden_layers": 12}),
    "FacebookAI/roberta-base": hf.RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
    "FacebookAI/roberta-large": hf.RobertaConfig(**LARGE, vocab_size=50265, max_position_embeddings=514),
    "FacebookAI/xlm-roberta-base": hf.XLMRobertaConfig(**XLMR),
    "FacebookAI/xlm-roberta-large": hf.XLMRobertaConfig(**XLMR, **LARGE),
    "Qwen/Qwen3-Embedding-0.6B": hf.Qwen3Config(**QWEN),
    "albert/albert-base-v2": hf.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "distilbert/distilbert-base-multilingual-cased": hf.DistilBertConfig(vocab_size=119547),
    "distilbert/distilbert-base-uncased": hf.DistilBertConfig(),
    "google-bert/bert-base-chinese": hf.BertConfig(vocab_size=21128),
    "google-bert/bert-base-multilingual-cased": hf.BertConfig(vocab_size=119547),
    "google-bert/bert-base-uncased": hf.BertConfig(),
    "google-bert/bert-large-uncased": hf.BertConfig(**LARGE),
    "google/embeddinggemma-300m": hf.Gemma3TextConfig(**GEMMA),
    "intfloat/e5-base-v2": hf.BertConfig(),
    "intfloat/multilingual-e5-base": hf.XLMRobertaConfig(**XLMR),
    "intfloat/multilingual-e5-small": hf.BertConfig(**MINI | {"num_hidden_layers": 12, "vocab_size": 250037}),
    "sentence-transformers/all-MiniLM-L6-v2": hf.BertConfig(**MINI),
    "sentence-transformers/all-mpnet-base-v2": MPNET,
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": hf.BertConfig(**MINI, vocab_size=250037),
    "vinai/bertweet-base": hf.RobertaConfig(vocab_size=64001, max_position_embeddings=130, type_vocab_size=1),
}
