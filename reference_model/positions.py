"""Where a token is: its pixel patch, its camera, its time, and how attention sees only the difference between two
such places.

Geometric Transform Attention (GTA, arXiv 2310.10375; the paper names it): a token a has a block-diagonal action rho_a
on a head's channels, and attention runs on rho_a^T q, rho_b^-1 k, rho_b^-1 v, with rho_a applied to the output.
Scores and values then depend on rho_a rho_b^-1 alone. Three blocks, in the order of the channels:

- **pose**: a 4x4 matrix on consecutive 4-vectors: the world-to-camera transform E (GTA) or the projection lift(K) E
  (PRoPE, arXiv 2507.10496, which also sees the focal length). rho_a rho_b^-1 carries camera b's frame into camera a's,
  so a change of the world frame cancels. It is not orthogonal: q takes E^T, k and v take E^-1, the output takes E.
- **time**: rotations by the frame's time (1-D RoPE). Video is the same model with identity poses and time; posed images
  have time 0.
- **position**: rotations by the patch centre, in image widths (2-D RoPE); orthogonal, so transpose is inverse.

Within one image every token has the same camera and time, so both blocks cancel exactly and spatial attention uses the
position block on all channels. A register token stands on its view's camera and time, and turns by no angle in the
position block: its interaction with any token then depends on relative poses alone, and the invariance holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Rotations(NamedTuple):
    """Angles that broadcast over b v n: [n, angle] where they turn with position, [b, v, 1, angle] with time."""

    cos: Float[Tensor, "*place angle"]
    sin: Float[Tensor, "*place angle"]


class PoseActions(NamedTuple):
    """What multiplies the pose block of q, k, v and the output. The block's 4-vectors are cut evenly into groups, one
    matrix each. Float32 or wider: translations enter dot products unbounded.
    """

    query: Float[Tensor, "b v 1 4 4"]
    key: Float[Tensor, "b v 1 4 4"]
    value: Float[Tensor, "b v group 4 4"]
    output: Float[Tensor, "b v group 4 4"]


class Actions(NamedTuple):
    """The action of every token of one batch, built once and used by every block. None: the head has no such block."""

    pose: PoseActions | None
    time: Rotations | None
    position: Rotations


def widen(x: Tensor) -> Tensor:
    """At least float32: what is computed with translations and norms never drops below it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in the precision of their operands: translations in bfloat16 would move cameras."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def invert_rigid(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of a rigid transform, by transposing its rotation."""
    rotation, translation = c2w[..., :3, :3], c2w[..., :3, 3:]
    top = torch.cat([rotation.mT, -rotation.mT @ translation], dim=-1)
    return torch.cat([top, c2w[..., 3:, :]], dim=-2)


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


def build_positions(rows: int, columns: int, channels: int, registers: int, kind: str, like: Tensor) -> Rotations:
    """The position block of a view: patches row by row, then registers, which turn by nothing. With kind `learned`
    nothing turns (the ablation adds a learned table to the tokens instead).
    """
    cos, sin = build_rotations(rows, columns, channels, like)
    if kind == "learned":
        cos, sin = torch.ones_like(cos), torch.zeros_like(sin)
    if registers:
        cos = torch.cat([cos, cos.new_ones(registers, cos.shape[1])])
        sin = torch.cat([sin, sin.new_zeros(registers, sin.shape[1])])
    return Rotations(cos, sin)


def build_times(times: Float[Tensor, "b v"], channels: int) -> Rotations | None:
    """The time block: 1-D RoPE with `times` in frames. The fastest angle turns 1 radian a frame, the slowest 1/100
    (ours). None without channels.
    """
    if not channels:
        return None
    count = channels // 2
    speeds = 100 ** (-torch.arange(count, device=times.device, dtype=times.dtype) / max(count - 1, 1))
    angles = times[:, :, None, None] * speeds
    return Rotations(angles.cos(), angles.sin())


def lift_intrinsics(
    intrinsics: Float[Tensor, "b v 3 3"], height: int, width: int
) -> tuple[Float[Tensor, "b v 4 4"], Float[Tensor, "b v 4 4"]]:
    """K of a height x width image as a 4x4 matrix in a centred unit image, and its inverse (PRoPE's K_norm; Lucas-707/
    RayRoPE:pos_enc/prope.py): [fx/w 0 cx/w-1/2; 0 fy/h cy/h-1/2; 0 0 1].
    """
    fx, fy = intrinsics[..., 0, 0] / width, intrinsics[..., 1, 1] / height
    cx, cy = intrinsics[..., 0, 2] / width - 0.5, intrinsics[..., 1, 2] / height - 0.5
    forward = torch.eye(4, dtype=fx.dtype, device=fx.device).repeat(*fx.shape, 1, 1)
    backward = forward.clone()
    forward[..., 0, 0], forward[..., 1, 1], forward[..., 0, 2], forward[..., 1, 2] = fx, fy, cx, cy
    backward[..., 0, 0], backward[..., 1, 1] = 1 / fx, 1 / fy
    backward[..., 0, 2], backward[..., 1, 2] = -cx / fx, -cy / fy
    return forward, backward


def multiply(a: Float[Tensor, "*batch 4 4"], b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """a b, in the precision of the operands whatever autocast says."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def build_pose_actions(
    c2w: Float[Tensor, "b v 4 4"], lift: tuple[Tensor, Tensor] | None, value_action: str
) -> PoseActions:
    """The pose block's matrices from camera poses; `lift` (from `lift_intrinsics`) makes GTA into PRoPE.

    The value action says what v and the output carry; each is a representation of the pose, so each keeps the
    invariance:

    - `joint`: rotation and translation in the same channels, as GTA and PRoPE do;
    - `split`: half of the 4-vectors rotate only, the other half carry translation only: of (u, s) u is dropped, and
      what arrives at a from b is (s t_ab, s) with t_ab the translation from b to a in a's frame. Rotation and
      translation stay apart, which DPPE (arXiv 2606.31585) finds needed in long training; this form of it is ours;
    - `dual`: the contragredient action, E^-T on the output and E^T on v (named there as another remedy);
    - `none`: v and the output are left alone (GTA's ablation).
    """
    w2c = invert_rigid(c2w)
    forward, backward = w2c, c2w  # rho and its inverse
    if lift is not None:
        forward, backward = multiply(lift[0], w2c), multiply(c2w, lift[1])
    rho, inverse = forward[:, :, None], backward[:, :, None]
    if value_action == "joint":
        value, output = inverse, rho
    elif value_action == "dual":
        value, output = rho.mT, inverse.mT
    elif value_action == "split":
        keep = torch.ones_like(rho)
        keep[..., :3, 3] = 0  # no translation column
        last = torch.zeros_like(rho)
        last[..., 3] = 1  # only the fourth channel of a vector enters
        turn, turn_back = w2c * keep[:, :, 0], c2w * keep[:, :, 0]
        if lift is not None:
            turn, turn_back = multiply(lift[0], turn), multiply(turn_back, lift[1])
        value = torch.cat([turn_back[:, :, None], inverse * last], 2)
        output = torch.cat([turn[:, :, None], rho], 2)
    elif value_action == "none":
        value = output = torch.eye(4, dtype=c2w.dtype, device=c2w.device).expand_as(rho)
    else:
        raise ValueError(f"value_action {value_action!r}: expected joint, split, dual or none")
    # In one piece, once a batch: the fused kernels would copy views of other tensors in every layer.
    return PoseActions(*(matrices.contiguous() for matrices in (rho.mT, inverse, value, output)))


def pose_distances(
    a_c2w: Float[Tensor, "*batch a 4 4"], b_c2w: Float[Tensor, "*batch b 4 4"], unit: Tensor | float
) -> Float[Tensor, "*batch a b"]:
    """How far apart cameras are: the distance of their centres, in `unit`, plus the angle of their axes in radians."""
    distance = torch.cdist(a_c2w[..., :3, 3], b_c2w[..., :3, 3]) / unit
    cosine = (a_c2w[..., :3, 2] @ b_c2w[..., :3, 2].mT).clamp(-1, 1)
    return distance + torch.arccos(cosine)


def rotate(x: Float[Tensor, "b v n h c"], rotations: Rotations, sign: int) -> Float[Tensor, "b v n h c"]:
    """Turn channel i against channel i + c/2 by `sign` times the token's angle i."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = rotations.cos[..., None, :], sign * rotations.sin[..., None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def apply_pose(x: Float[Tensor, "b v n h c"], matrices: Float[Tensor, "b v group 4 4"]) -> Float[Tensor, "b v n h c"]:
    """Multiply each consecutive 4-vector of the channels by the matrix of its view and group: products and sums, so
    that it fuses, of whole planes, one for each place in a vector, because rows of four numbers keep a CPU waiting.
    """
    vectors = x.unflatten(-1, (matrices.shape[2], -1, 4))  # b v n h group c/4/group 4
    planes = vectors.permute(0, 1, 4, 6, 2, 3, 5).contiguous()  # b v group 4 n h c/4/group
    moved = (planes[:, :, :, None] * matrices[..., None, None, None]).sum(4)
    return moved.permute(0, 1, 4, 5, 2, 6, 3).flatten(-3)


def apply_action(
    x: Float[Tensor, "b v n h c"], matrices: Float[Tensor, "b v group 4 4"] | None, actions: Actions, sign: int
) -> Float[Tensor, "b v n h c"]:
    """One of the four transforms of an attention: `matrices` on the pose block, then turns by `sign` times time and
    position. Computed in float32 or wider; back in x's type.
    """
    kind, x = x.dtype, widen(x)
    turning = 2 * actions.position.cos.shape[-1]
    timed = 2 * actions.time.cos.shape[-1] if actions.time is not None else 0
    posed, moving, placed = x.tensor_split([x.shape[-1] - turning - timed, x.shape[-1] - turning], dim=-1)
    placed = rotate(placed, actions.position, sign)
    if actions.time is None and matrices is None:
        return placed.to(kind)
    parts = [apply_pose(posed, matrices)] if matrices is not None else []
    if actions.time is not None:
        parts.append(rotate(moving, actions.time, sign))
    return torch.cat([*parts, placed], dim=-1).to(kind)


Normalisation = Callable[[Float[Tensor, "b v 4 4"]], Float[Tensor, "b v 4 4"]]


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


def normalise_to_first(c2w: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 4 4"]:
    """The first camera at the origin, the mean distance of the others from it 1 (as LVSM and SEVA do, but for the
    factor): unlike `normalise_poses` it knows no object, and it depends on which view comes first.
    """
    c2w = c2w.double()
    relative = invert_rigid(c2w[:, :1]) @ c2w
    scale = 1 / relative[..., 1:, :3, 3].norm(dim=-1).mean(1).nan_to_num(1.0).clamp(min=1e-6)
    moved = relative[..., :3, 3:] * torch.where(scale < 1e6, scale, 1.0)[:, None, None, None]
    return torch.cat([torch.cat([relative[..., :3, :3], moved], -1), relative[..., 3:, :]], -2).float()


# Named rules for the size and the frame of a scene. `none` is for poses that come normalised.
NORMALISATIONS: dict[str, Normalisation] = {
    "focus": normalise_poses,
    "first": normalise_to_first,
    "none": lambda c2w: c2w.float(),
}


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


def plucker_rays(
    c2w: Float[Tensor, "b v 4 4"], intrinsics: Float[Tensor, "b v 3 3"], height: int, width: int, patch: int
) -> Float[Tensor, "b v n 18"]:
    """The ablation's absolute baseline: Plücker coordinates (d, o x d) of a patch's rays in the world frame.

    With d at unit depth a pixel's six numbers are linear in the pixel, so the centre's and those of half a patch to the
    right and down hold every pixel's; a linear embedding of all of them could make no more of them. They change with
    the world frame: a model that reads them is not invariant.
    """
    rays = camera_rays(intrinsics, height, width, patch)
    one, zero = torch.ones_like(rays[..., 0]), torch.zeros_like(rays[..., 0])
    centre = torch.stack([rays[..., 0], rays[..., 1], one], -1)
    right = torch.stack([rays[..., 2], zero, zero], -1)
    down = torch.stack([zero, rays[..., 3], zero], -1)
    local = torch.stack([centre, right, down], -2)  # b v n 3 3: three directions in the camera's frame
    direction = (c2w[:, :, None, None, :3, :3] * local[..., None, :]).sum(-1)
    origin = c2w[:, :, None, None, :3, 3].expand_as(direction)
    return torch.cat([direction, torch.linalg.cross(origin, direction)], -1).flatten(-2)
