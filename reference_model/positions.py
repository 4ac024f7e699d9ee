"""Where a token is: its pixel patch, its camera, and how attention sees only the difference between two such places.

Geometric Transform Attention (GTA, arXiv 2310.10375): a token a has a block-diagonal action rho_a on a head's
channels, and attention runs on rho_a^T q, rho_b^-1 k, rho_b^-1 v, with rho_a applied to the output. Scores and values
then depend on rho_a rho_b^-1 alone. Two blocks here:

- **pose**: the 4x4 world-to-camera matrix E on consecutive 4-vectors. E E'^-1 carries camera b's frame into camera
  a's, so a change of the world frame cancels. E is not orthogonal: q takes E^T, k and v take E^-1, the output takes E.
- **position**: rotations by the angle of the patch centre, in image widths (2-D RoPE); orthogonal, so transpose is
  inverse.

Within one image every token has the same camera and the pose block cancels exactly, so spatial attention uses the
position block only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Actions(NamedTuple):
    """The transforms of one batch, built once and used by every block. Float32: translations enter dot products
    unbounded.
    """

    w2c: Float[Tensor, "b v 4 4"]
    c2w: Float[Tensor, "b v 4 4"]
    cos: Float[Tensor, "n angle"]
    sin: Float[Tensor, "n angle"]


def widen(x: Tensor) -> Tensor:
    """At least float32: what is computed with translations and norms never drops below it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def invert_rigid(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of a rigid transform, by transposing its rotation."""
    rotation, translation = c2w[..., :3, :3], c2w[..., :3, 3:]
    top = torch.cat([rotation.mT, -rotation.mT @ translation], dim=-1)
    return torch.cat([top, c2w[..., 3:, :]], dim=-2)


class Rotations(NamedTuple):
    """The position block alone, for attention within a view."""

    cos: Float[Tensor, "n angle"]
    sin: Float[Tensor, "n angle"]


def build_rotations(rows: int, columns: int, channels: int, like: Tensor) -> Rotations:
    """Rotations for images cut into rows x columns patches; half of the channels turn with x, half with y.

    Angles are in normalised coordinates (the image's longer side is 1), so that a model trained at one resolution
    reads another. The fastest frequency turns pi between neighbours of a 32-patch grid (ours), the slowest a quarter
    turn over the image. Type and device are those of `like`.
    """
    frequencies = channels // 4
    longest = max(rows, columns)
    speeds = (math.pi / 2) * 64 ** (
        torch.arange(frequencies, device=like.device, dtype=like.dtype) / max(frequencies - 1, 1)
    )
    y = (torch.arange(rows, device=like.device) + 0.5) / longest
    x = (torch.arange(columns, device=like.device) + 0.5) / longest
    angle_x = (x[None, :, None] * speeds).expand(rows, columns, frequencies)
    angle_y = (y[:, None, None] * speeds).expand(rows, columns, frequencies)
    angles = torch.cat([angle_x, angle_y], dim=-1).flatten(0, 1)  # n, channels / 2
    return Rotations(angles.cos(), angles.sin())


def build_actions(c2w: Float[Tensor, "b v 4 4"], rows: int, columns: int, position_channels: int) -> Actions:
    """Pose and position of every token, for attention across views."""
    c2w = widen(c2w)
    return Actions(invert_rigid(c2w), c2w, *build_rotations(rows, columns, position_channels, c2w))


def pose_distances(
    a_c2w: Float[Tensor, "*batch a 4 4"], b_c2w: Float[Tensor, "*batch b 4 4"], unit: Tensor | float
) -> Float[Tensor, "*batch a b"]:
    """How far apart cameras are: the distance of their centres, in `unit`, plus the angle of their axes in radians."""
    distance = torch.cdist(a_c2w[..., :3, 3], b_c2w[..., :3, 3]) / unit
    cosine = (a_c2w[..., :3, 2] @ b_c2w[..., :3, 2].mT).clamp(-1, 1)
    return distance + torch.arccos(cosine)


def rotate(
    x: Float[Tensor, "*batch n h c"], cos: Float[Tensor, "n angle"], sin: Float[Tensor, "n angle"]
) -> Float[Tensor, "*batch n h c"]:
    """Turn channel i against channel i + c/2 by the token's angle i. With -sin it turns back."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def apply_pose(x: Float[Tensor, "b v n h c"], matrix: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v n h c"]:
    """Multiply each consecutive 4-vector of the channels by the view's 4x4 matrix (products and sums, so that it
    fuses).
    """
    vectors = x.unflatten(-1, (-1, 1, 4))  # b v n h c/4 1 4
    return (vectors * matrix[:, :, None, None, None]).sum(-1).flatten(-2)


def normalise_poses(c2w: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 4 4"]:
    """Bring any scene to one size: the point all cameras look at goes to the origin, their mean distance from it to 1.

    GTA sees no change of the world frame but does see scale. The focus is the least-squares point nearest to the
    optical axes, (sum_i I - f_i f_i^T) p = sum_i (I - f_i f_i^T) c_i, with a weak prior at 4 spreads in front of the
    cameras, which decides where axes are parallel; the distance is at least half the spread of the centres, which
    decides where cameras look outwards. Ours: the paper does not say. It reads every camera of the request,
    references and targets.
    """
    c2w = c2w.double()
    centre, forward = c2w[..., :3, 3], c2w[..., :3, 2]
    mean = centre.mean(1, keepdim=True)
    spread = (centre - mean).square().sum(-1).mean(1).sqrt()
    heading = torch.nn.functional.normalize(forward.mean(1), dim=-1)
    prior = mean[:, 0] + 4 * spread[:, None] * heading
    eye = torch.eye(3, dtype=c2w.dtype, device=c2w.device)
    project = eye - forward[..., :, None] * forward[..., None, :]
    weight = 0.01 * c2w.shape[1]
    system = project.sum(1) + weight * eye
    right = (project @ centre[..., None]).sum(1)[..., 0] + weight * prior
    focus = torch.linalg.solve(system, right)
    distance = (centre - focus[:, None]).norm(dim=-1).mean(1)
    scale = 1 / torch.maximum(distance, 0.5 * spread).clamp(min=1e-6)
    scaled = (centre - focus[:, None]) * scale[:, None, None]
    return torch.cat([torch.cat([c2w[..., :3, :3], scaled[..., None]], -1), c2w[..., 3:, :]], -2).float()


def camera_rays(intrinsics: Float[Tensor, "b v 3 3"], height: int, width: int, patch: int) -> Float[Tensor, "b v n 4"]:
    """What GTA cannot see, the focal length: each patch's centre direction (x/z, y/z) in its own camera, and half its
    extent.

    A pinhole's directions are linear in the pixel, so these four numbers hold every pixel's ray. K is in pixels of
    height x width.
    """
    rows, columns = height // patch, width // patch
    y = (torch.arange(rows, device=intrinsics.device) + 0.5) * patch
    x = (torch.arange(columns, device=intrinsics.device) + 0.5) * patch
    pixels = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).flatten(0, 1)  # n 2
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)[:, :, None]
    principal = intrinsics[..., :2, 2][:, :, None]
    extent = (patch / 2 / focal).expand(-1, -1, rows * columns, -1)
    return torch.cat([(pixels - principal) / focal, extent], dim=-1)
