"""Where the tokens of a batch are: cameras and times as attention takes them, built once for every block and step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.attention import Window, cut_views
from reference_model.config import ModelConfig
from reference_model.positions import (
    Actions,
    Rotations,
    build_pose_actions,
    build_positions,
    build_times,
    camera_rays,
    lift_intrinsics,
    plucker_rays,
    widen,
    without_autocast,
)


class Views(NamedTuple):
    """Cameras of a batch, references first. K in pixels of the images' size; c2w normalised
    (positions.NORMALISATIONS). Video: identity poses and the frames' times; without times all are 0.
    """

    c2w: Float[Tensor, "b v 4 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    references: int
    height: int
    width: int
    times: Float[Tensor, "b v"] | None = None

    def take(self, first: int, last: int, references: int) -> Views:
        """The views from `first` to before `last`, of which so many are references."""
        times = None if self.times is None else self.times[:, first:last]
        return self._replace(
            c2w=self.c2w[:, first:last], intrinsics=self.intrinsics[:, first:last], references=references, times=times
        )

    def to(self, device: str | torch.device) -> Views:
        times = None if self.times is None else self.times.to(device)
        return self._replace(c2w=self.c2w.to(device), intrinsics=self.intrinsics.to(device), times=times)

    @property
    def roles(self) -> Float[Tensor, " v"]:
        """0 for references, 1 for targets."""
        return (torch.arange(self.c2w.shape[1], device=self.c2w.device) >= self.references).float()


class Places(NamedTuple):
    """Where the tokens of a batch are, for every block and every step."""

    within: Actions  # position on all channels: pose and time cancel within a view
    across: Actions
    local: Window | None
    grid: Window | None
    rays: Float[Tensor, "b v n ray"]  # what enters beside each patch's token


def build_places(config: ModelConfig, views: Views) -> Places:
    """The actions and windows of these views; never in less than float32, whatever autocast says."""
    rows, columns = views.height // config.patch, views.width // config.patch
    c2w, intrinsics = widen(views.c2w), widen(views.intrinsics)

    def positions(channels: int) -> Rotations:
        return build_positions(rows, columns, channels, config.registers, config.position, c2w)

    with without_autocast(c2w.device):
        pose = None
        if config.pose_channels:
            lift = lift_intrinsics(intrinsics, views.height, views.width) if config.pose == "prope" else None
            pose = build_pose_actions(c2w, lift, config.value_action)
        times = torch.zeros_like(c2w[:, :, 0, 0]) if views.times is None else views.times.to(c2w.dtype)
        rest = config.head_channels - config.pose_channels - config.time_channels
        local, grid = cut_views(rows, columns, config.window_of(rows * columns))
        return Places(
            within=Actions(None, None, positions(config.head_channels)),
            across=Actions(pose, build_times(times, config.time_channels), positions(rest)),
            local=local,
            grid=grid,
            rays=build_rays(config, views),
        )


def build_rays(config: ModelConfig, views: Views) -> Float[Tensor, "b v n ray"]:
    """What enters beside each patch's token: its rays, as the model takes them, and whether it is a target's."""
    b, v = views.c2w.shape[:2]
    n = (views.height // config.patch) * (views.width // config.patch)
    role = views.roles[None, :, None, None].expand(b, v, n, 1)
    if config.rays == "none":
        return role
    cameras = widen(views.c2w), widen(views.intrinsics)
    if config.rays == "camera":
        rays = camera_rays(cameras[1], views.height, views.width, config.patch)
    else:
        rays = plucker_rays(*cameras, views.height, views.width, config.patch)
    return torch.cat([rays, role.to(rays.dtype)], -1)
