r"""The contrastive losses, on unit-norm float32 embeddings over the global batch.

Notation: B pairs, embeddings I, T ∈ R^{B×D}, logit scale s.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from safeclip_jax.objectives import chunked
from safeclip_jax.objectives.bank import Bank, enqueue, nearest
from safeclip_jax.objectives.chunked import Chunks


def info_nce(
    queries: jax.Array, targets: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    r"""InfoNCE: mean_i −log softmax_j(s · q_i · t_j) at j = i.

    Args:
      queries: [B, D], unit norm.
      targets: [B, D], unit norm; row i is the positive of query i.
      scale: logit scale s, a scalar.
      chunks: how to cut the similarities of a large batch; None for all at once.

    Returns:
      The mean loss in nats, a scalar.

    References:
      van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018.
    """
    rows, _, diagonal = normalizers(queries, targets, scale, chunks)
    return jnp.mean(rows - diagonal)


def normalizers(
    queries: jax.Array, targets: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-sum-exps of the logits' rows and columns, and their diagonal, [B] each.

    Args as in `info_nce`.
    """
    if chunks is not None:
        diagonal = scale * jnp.sum(queries * targets, axis=1)
        return *chunked.log_sums(chunks, queries, targets, scale), diagonal
    logits = scale * queries @ targets.T
    rows, columns = (jax.nn.logsumexp(logits, axis=axis) for axis in (1, 0))
    return rows, columns, jnp.diagonal(logits)


def expected(
    queries: jax.Array, targets: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    """Mean logit of each query under its own softmax, Σ_j p_ij s · q_i · t_j, [B].

    A logit less this is log p plus the entropy of p. Args as in `info_nce`.
    """
    if chunks is not None:
        return chunked.expected(chunks, queries, targets, scale)
    logits = scale * queries @ targets.T
    return jnp.sum(jax.nn.softmax(logits, axis=1) * logits, axis=1)


def clip_loss(
    images: jax.Array, texts: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    r"""Bidirectional InfoNCE: ½ · (InfoNCE(I, T) + InfoNCE(T, I)).

    Args:
      images, texts: [B, D], unit norm; row i of both is one pair.
      scale: logit scale s, a scalar.
      chunks: as in `info_nce`.

    Returns:
      The mean loss in nats, a scalar.

    References:
      Radford et al., "Learning Transferable Visual Models From Natural Language
      Supervision", 2021, figure 3.
    """
    rows, columns, diagonal = normalizers(images, texts, scale, chunks)
    return jnp.mean(rows + columns - 2 * diagonal) / 2


def bank_matched_loss(
    images: jax.Array,
    texts: jax.Array,
    bank: Bank,
    scale: jax.Array,
    chunks: Chunks | None = None,
) -> tuple[jax.Array, Bank]:
    r"""RoCLIP's loss: the CLIP loss with each caption replaced by the image's nearest in a bank.

    ½ · (InfoNCE(I, n) + InfoNCE(n, I)) with n_i = argmax_{t ∈ bank} I_i · t; the bank then
    takes in the batch's captions T. No gradient reaches the bank, nor through T.

    Args:
      images, texts: [B, D], unit norm; row i of both is one pair.
      bank: past caption embeddings.
      scale: logit scale s, a scalar.
      chunks: as in `info_nce`.

    Returns:
      The mean loss in nats and the bank with the captions in it.

    References:
      Yang, Gao & Mirzasoleiman, "Robust Contrastive Language-Image Pretraining against
      Data Poisoning and Backdoor Attacks" (RoCLIP), NeurIPS 2023, section 4.
    """
    loss = clip_loss(images, nearest(bank, images, chunks), scale, chunks)
    return loss, enqueue(bank, texts)


def clip_and_unimodal_loss(
    images: jax.Array,
    texts: jax.Array,
    image_views: jax.Array,
    text_views: jax.Array,
    scale: jax.Array,
    weight: float,
    chunks: Chunks | None = None,
) -> jax.Array:
    r"""CleanCLIP's loss: CLIP(I, T) + λ · ½ · (InfoNCE(I, I') + InfoNCE(T, T')).

    Args:
      images, texts: [B, D], unit norm; row i of both is one pair as it is.
      image_views, text_views: [B, D], of an augmented view of each.
      scale: logit scale s, a scalar.
      weight: λ of the unimodal part.
      chunks: as in `info_nce`.

    Returns:
      The mean loss in nats, a scalar.

    References:
      Bansal et al., "CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal
      Contrastive Learning", ICCV 2023, section 3.
    """
    of_images = info_nce(images, image_views, scale, chunks)
    of_texts = info_nce(texts, text_views, scale, chunks)
    return clip_loss(images, texts, scale, chunks) + weight * (of_images + of_texts) / 2


def unimodal_loss(
    view_a: jax.Array,
    view_b: jax.Array,
    bank: Bank,
    scale: jax.Array,
    chunks: Chunks | None = None,
) -> tuple[jax.Array, Bank]:
    r"""One modality's nearest-neighbour contrastive loss: InfoNCE(b, n) with n_i = NN(a_i).

    The nearest neighbour of a_i in the bank stands in for a_i as b_i's positive; the
    bank then takes in a. No gradient reaches a or the bank.

    Args:
      view_a, view_b: [B, D], unit norm, two augmented views of the same inputs.
      bank: past embeddings of this modality.
      scale: logit scale s, a scalar.
      chunks: as in `info_nce`.

    Returns:
      The mean loss in nats and the bank with view a in it.

    References:
      Dwibedi et al., "With a Little Help from My Friends" (NNCLR), 2021, equation 3;
      Yang et al., "Better Safe than Sorry" (SafeCLIP), 2024, section 4.1.
    """
    loss = info_nce(view_b, nearest(bank, view_a, chunks), scale, chunks)
    return loss, enqueue(bank, view_a)
