"""Images: wherever the pixels move, K must have moved with them; and Pillow must have done exactly what was named."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from kaleido_bench.data.cameras import Camera, build_camera, intrinsics_matrix, project
from kaleido_bench.data.images import (
    ImagePreparation,
    decode_image,
    encode_png,
    has_transparency,
    prepare_camera,
    prepare_image,
    prepared_size,
)
from kaleido_bench.data.readers.folders import read_image_size
from kaleido_bench.errors import BenchError
from tests.data.bombs import build_bomb

# (filter, antialias), all that exist
SAMPLINGS = [(name, True) for name in ("lanczos", "bicubic", "bilinear", "box", "hamming")]
SAMPLINGS += [(name, False) for name in ("bilinear", "nearest")]


def preparation(**changes: object) -> ImagePreparation:
    fields: dict[str, object] = {
        "size": (32, 32),
        "fit": "cover-crop",
        "filter": "lanczos",
        "antialias": True,
        "background": "white",
        "alpha": "composite",
    }
    return ImagePreparation.model_validate(fields | changes)


def some_camera(width: int, height: int) -> Camera:
    angle = 0.4
    c2w = np.array(
        [
            [np.cos(angle), 0, np.sin(angle), 1.5],
            [0, 1, 0, -0.5],
            [-np.sin(angle), 0, np.cos(angle), 2.0],
            [0, 0, 0, 1],
        ]
    )
    return build_camera(c2w, intrinsics_matrix(70, 66, width * 0.47, height * 0.56), width, height, where="test")


def centres(camera: Camera) -> np.ndarray:
    """The pixel centres of an image, [height * width, 2], row by row."""
    grid = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return np.stack(grid, axis=-1).reshape(-1, 2)


def seen_on_plane(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """The world points of a wall two units in front of the camera that these pixels show."""
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(camera.K).T
    return 2 * rays @ camera.c2w[:3, :3].T + camera.c2w[:3, 3]


def ramp(camera: Camera, slope: float) -> np.ndarray:
    """An image whose red says x and whose green says y: value = slope * pixel coordinate."""
    values = slope * centres(camera).reshape(camera.height, camera.width, 2)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    image[:, :, :2] = np.round(values)
    return image


@pytest.mark.parametrize("fit", ["cover-crop", "contain-pad", "stretch"])
@pytest.mark.parametrize(("filter_name", "antialias"), SAMPLINGS)
@pytest.mark.parametrize("size", [(31, 18), (18, 31), (32, 32), (97, 83)])
def test_every_pixel_shows_the_world_point_its_camera_says(
    fit: str, filter_name: str, antialias: bool, size: tuple[int, int]
) -> None:
    slope = 4.0
    camera = some_camera(61, 47)
    image = ramp(camera, slope)
    inside = np.full(image.shape[:2], 255, np.uint8)
    prepared = prepare_image(
        image, camera, inside, preparation(size=size, fit=fit, filter=filter_name, antialias=antialias), "test"
    )

    points = seen_on_plane(prepared.camera, centres(prepared.camera))
    expected = project(camera, points).pixels  # where the unprepared camera sees these world points
    found = prepared.image.reshape(-1, 3)[:, :2] / slope
    assert prepared.mask is not None
    # Filters lose their symmetry at the border, where one side of them is cut off.
    margin = 3 + 3 * max(1.0, camera.width / size[0], camera.height / size[1])
    valid = prepared.mask.reshape(-1) & (expected > margin).all(1)
    valid &= (expected < [camera.width - margin, camera.height - margin]).all(1)
    error = (found - expected)[valid]
    assert valid.sum() > 20
    # A half-pixel slip is what goes wrong in practice; the mean must be far below it. Nearest and box take whole
    # pixels, so that a single one may be half a pixel off, and few of them do not average that out.
    whole = filter_name in ("nearest", "box")
    assert np.abs(error.mean(axis=0)).max() < (0.12 if whole else 0.03)
    assert np.abs(error).max() < (0.8 if whole else 0.35)


def test_the_probe_sees_half_a_pixel() -> None:
    # The test above must be able to fail: the same comparison against a camera that is half a pixel off.
    camera = some_camera(61, 47)
    prepared = prepare_image(ramp(camera, 4.0), camera, None, preparation(size=(30, 23), fit="stretch"), "test")
    wrong = build_camera(camera.c2w, camera.K + np.array([[0, 0, 0.5], [0, 0, 0], [0, 0, 0]]), 61, 47, where="test")
    expected = project(wrong, seen_on_plane(prepared.camera, centres(prepared.camera))).pixels
    error = (prepared.image.reshape(-1, 3)[:, 0] / 4.0 - expected[:, 0]).reshape(23, 30)[5:-5, 5:-5]
    assert abs(error.mean()) > 0.4


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["cover-crop", "contain-pad", "stretch"]),
)
@settings(max_examples=80)
def test_sizes_are_exact_and_camera_and_image_agree(stored: tuple[int, int], size: tuple[int, int], fit: str) -> None:
    camera = some_camera(*stored)
    wanted = preparation(size=size, fit=fit)
    image = np.zeros((stored[1], stored[0], 3), np.uint8)
    prepared = prepare_image(image, camera, np.full(image.shape[:2], 255, np.uint8), wanted, "test")
    assert prepared.image.shape == (size[1], size[0], 3) and prepared.mask is not None
    assert prepared.mask.shape == (size[1], size[0])
    assert (prepared.camera.width, prepared.camera.height) == size == prepared_size(wanted, camera)
    assert np.array_equal(prepared.camera.K, prepare_camera(camera, wanted, "test").K)
    if fit != "contain-pad":
        assert prepared.mask.all()
    else:  # black image on white: what is not padding is exactly what the mask says
        assert np.array_equal(prepared.image[:, :, 0] == 0, prepared.mask)


# --------------------------------------------------------------------------------------------- Pillow, field, torch


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("stored", [(61, 47), (47, 61), (50, 50)])
def test_cover_crop_is_the_fields_rescale_and_crop(stored: tuple[int, int]) -> None:
    # As pixelSplat, MVSplat and LVSM do it: scale by the larger ratio, LANCZOS, centre crop by integer division.
    image, (width, height) = noise(*stored), stored
    factor = max(32 / height, 32 / width)
    scaled = Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.LANCZOS)
    left, top = (scaled.width - 32) // 2, (scaled.height - 32) // 2
    expected = np.asarray(scaled)[top : top + 32, left : left + 32]
    found = prepare_image(image, some_camera(*stored), None, preparation(), "test").image
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("filter_name", ["lanczos", "bicubic", "bilinear", "box", "hamming"])
def test_stretch_is_pillows_resize(filter_name: str) -> None:
    image = noise(61, 47)
    expected = Image.fromarray(image).resize((32, 32), getattr(Image.Resampling, filter_name.upper()))
    found = prepare_image(
        image, some_camera(61, 47), None, preparation(fit="stretch", filter=filter_name), "test"
    ).image
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize(("filter_name", "mode"), [("bilinear", "bilinear"), ("nearest", "nearest-exact")])
@pytest.mark.parametrize("size", [(20, 15), (97, 83)])
def test_without_antialias_is_torchs_interpolate(filter_name: str, mode: str, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    image = noise(61, 47)
    wanted = preparation(size=size, fit="stretch", filter=filter_name, antialias=False)
    found = prepare_image(image, some_camera(61, 47), None, wanted, "test").image.astype(float)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    options = {} if filter_name == "nearest" else {"align_corners": False, "antialias": False}
    expected = (
        torch.nn.functional.interpolate(planes, size=size[::-1], mode=mode, **options)[0].permute(1, 2, 0).numpy()
    )
    assert np.abs(found - expected).max() < (0.01 if filter_name == "nearest" else 0.501)  # rounding, and no more


def test_antialias_is_what_it_says() -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::3] = 255  # a period of 3 pixels, far above what 13 pixels can hold
    camera = some_camera(60, 60)
    spread: dict[bool, int] = {}
    for antialias in (True, False):
        wanted = preparation(size=(13, 13), fit="stretch", filter="bilinear", antialias=antialias)
        interior = prepare_image(stripes, camera, None, wanted, "test").image[:, 2:-2]
        spread[antialias] = int(interior.max()) - int(interior.min())
    assert spread[True] < 60
    assert spread[False] > 150


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(32, 32)
    for fit in ("cover-crop", "contain-pad", "stretch", "none"):
        assert np.array_equal(
            prepare_image(image, some_camera(32, 32), None, preparation(fit=fit), "test").image, image
        )


def test_without_a_size_nothing_changes() -> None:
    image, camera = noise(61, 47), some_camera(61, 47)
    prepared = prepare_image(image, camera, None, preparation(size=None, fit="none"), "test")
    assert np.array_equal(prepared.image, image) and np.array_equal(prepared.camera.K, camera.K)
    assert prepared_size(preparation(size=None, fit="none"), camera) == (61, 47)


# -------------------------------------------------------------------------------------------------------- alpha, masks


def prepare_rgba(rgba: np.ndarray, **changes: object) -> np.ndarray:
    height, width = rgba.shape[:2]
    wanted = preparation(**({"size": (width, height), "fit": "none"} | changes))
    return prepare_image(rgba, some_camera(width, height), None, wanted, "test").image


@pytest.mark.parametrize(
    ("background", "colour"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("gray", (128, 128, 128)), ([10, 200, 30], (10, 200, 30))],
)
def test_composite_is_exact_for_every_alpha_and_colour(background: object, colour: tuple[int, int, int]) -> None:
    rgba = np.zeros((256, 256, 4), np.uint8)
    rgba[..., :3] = np.arange(256)[:, None, None]
    rgba[..., 3] = np.arange(256)[None, :]
    alpha = rgba[..., 3:] / 255
    expected = np.floor(alpha * rgba[..., :3] + (1 - alpha) * np.array(colour) + 0.5 + 1e-9)
    assert np.array_equal(prepare_rgba(rgba, background=background), expected)


def test_composite_equals_resampling_premultiplied_colours() -> None:
    rgba = np.array(
        Image.fromarray(noise(20, 20, 4)).resize((61, 47), Image.BICUBIC)
    )  # soft edges, wild hidden colours
    prepared = prepare_rgba(rgba, size=(24, 19), fit="stretch", filter="bilinear").astype(float)

    def shrink(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((24, 19), Image.BILINEAR))

    alpha = rgba[..., 3] / 255
    coverage = shrink(alpha)[..., None]
    premultiplied = np.stack([shrink(alpha * rgba[..., c]) for c in range(3)], axis=-1)
    straight = np.stack([shrink(rgba[..., c]) for c in range(3)], axis=-1)
    assert np.abs(prepared - (premultiplied + (1 - coverage) * 255)).max() < 1.6  # three roundings to eight bits
    assert np.abs(prepared - (coverage * straight + (1 - coverage) * 255)).max() > 5  # the order matters


def test_binary_is_eschernets_rule() -> None:
    rgba = noise(40, 30, 4)
    rgba[:15, :, 3] = 0
    rgba[15:20, :, 3] = 1
    expected = rgba.copy()  # metrics/eval_2D_NVS.py: img[img[:, :, -1] == 0.] = white, then img[:, :, :3]
    expected[expected[:, :, -1] == 0] = 255
    assert np.array_equal(prepare_rgba(rgba, alpha="binary"), expected[:, :, :3])


def test_drop_forgets_alpha_and_makes_no_mask() -> None:
    rgba = noise(40, 30, 4)
    prepared = prepare_image(rgba, some_camera(40, 30), None, preparation(size=None, fit="none", alpha="drop"), "test")
    assert np.array_equal(prepared.image, rgba[:, :, :3]) and prepared.mask is None


def test_alpha_is_the_mask_until_a_file_says_otherwise() -> None:
    rgba = noise(40, 30, 4)
    rgba[:, :, 3] = np.where(np.arange(40) < 20, 127, 128)
    wanted, camera = preparation(size=None, fit="none"), some_camera(40, 30)
    from_alpha = prepare_image(rgba, camera, None, wanted, "test").mask
    assert from_alpha is not None and np.array_equal(from_alpha, np.broadcast_to(np.arange(40) >= 20, (30, 40)))
    of_file = np.zeros((30, 40), np.uint8)
    of_file[3, 4] = 255
    from_file = prepare_image(rgba, camera, of_file, wanted, "test").mask
    assert from_file is not None and np.argwhere(from_file).tolist() == [[3, 4]]


@pytest.mark.parametrize(("filled", "inside"), [(0, False), (1, False), (2, True), (3, True), (4, True)])
def test_a_mask_pixel_is_inside_when_half_of_it_is(filled: int, inside: bool) -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, :2] = np.array([255] * filled + [0] * (4 - filled), np.uint8).reshape(2, 2)
    prepared = prepare_image(noise(4, 4), some_camera(4, 4), mask, preparation(size=(2, 2)), "test")
    assert prepared.mask is not None
    assert prepared.mask.tolist() == [[inside, False], [False, False]]


def test_padding_is_background_and_outside_the_mask() -> None:
    image, mask = np.full((10, 20, 3), 50, np.uint8), np.full((10, 20), 255, np.uint8)
    wanted = preparation(size=(20, 13), fit="contain-pad", background=[1, 2, 3])
    prepared = prepare_image(image, some_camera(20, 10), mask, wanted, "test")
    assert prepared.mask is not None
    padded = np.array([True] + [False] * 10 + [True] * 2)  # of the odd remainder, the smaller half lies above
    assert np.array_equal(prepared.mask, np.broadcast_to(~padded[:, None], (13, 20)))
    assert (prepared.image[padded] == [1, 2, 3]).all() and (prepared.image[~padded] == 50).all()


# ------------------------------------------------------------------------------------------------------------ refusal


def test_transparency_needs_a_background() -> None:
    for alpha in ("composite", "binary"):
        with pytest.raises(BenchError, match="a transparent image, and background none"):
            prepare_rgba(noise(8, 8, 4), alpha=alpha, background="none")
    assert prepare_rgba(noise(8, 8, 4), alpha="drop", background="none").shape == (8, 8, 3)
    assert prepare_rgba(noise(8, 8, 3), background="none").shape == (8, 8, 3)


def test_sizes_must_agree() -> None:
    camera = some_camera(20, 10)
    with pytest.raises(
        BenchError, match=r"view\.png: an image of 21 x 10 pixels; expected 20 x 10, as its camera says"
    ):
        prepare_image(noise(21, 10), camera, None, preparation(), "view.png")
    with pytest.raises(BenchError, match="a mask of 10 x 20 pixels; expected 20 x 10"):
        prepare_image(noise(20, 10), camera, np.zeros((20, 10), np.uint8), preparation(), "view.png")
    with pytest.raises(BenchError, match="an image of 20 x 10 pixels; expected 32 x 32, since fit is none"):
        prepare_image(noise(20, 10), camera, None, preparation(fit="none"), "view.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "fit cover-crop needs a size"),
        ({"fit": "contain-pad", "background": "none"}, "needs a background to pad with"),
        ({"filter": "nearest"}, "nearest cannot antialias"),
        ({"filter": "lanczos", "antialias": False}, "lanczos only exists with antialias"),
        ({"filter": "box", "antialias": False}, "box only exists with antialias"),
        ({"filter": "bicubic", "antialias": False}, "bicubic only exists with antialias"),
        ({"filter": "area"}, "lanczos"),
        ({"size": (0, 32)}, "greater than or equal to 1"),
        ({"background": [0, 0, 256]}, "less than or equal to 255"),
        ({"background": "pink"}, "white"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_preparation_that_cannot_be_meant_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        preparation(**changes)


# ------------------------------------------------------------------------------------------------------------- decoding


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_round_trip_is_exact_plain_and_repeatable() -> None:
    for channels in (3, 4):
        image = noise(33, 17, channels)
        data = encode_png(image)
        assert np.array_equal(decode_image(data, "test"), image)
        assert data == encode_png(image.copy())
        chunks = [
            data[i : i + 4] for i in range(12, len(data), 1) if data[i : i + 4] in (b"tEXt", b"tIME", b"iCCP", b"gAMA")
        ]
        assert chunks == []


def test_grey_palette_and_bilevel_images_are_expanded() -> None:
    grey = Image.fromarray(noise(9, 7, 1)[:, :, 0])
    pixels = np.asarray(grey)
    assert np.array_equal(decode_image(encoded(grey), "test"), np.repeat(pixels[..., None], 3, axis=2))

    soft = Image.merge("LA", (grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert np.array_equal(decode_image(encoded(soft), "test")[..., 3], pixels[:, ::-1])

    palette = Image.fromarray(noise(9, 7)).quantize(16)
    assert np.array_equal(decode_image(encoded(palette), "test"), np.asarray(palette.convert("RGB")))
    assert decode_image(encoded(palette, transparency=0), "test").shape == (7, 9, 4)

    bilevel = decode_image(encoded(grey.convert("1")), "test")
    assert bilevel.shape == (7, 9, 3) and set(np.unique(bilevel)) <= {0, 255}


def test_an_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    data = encoded(Image.fromarray(noise(20, 10)), "JPEG", exif=exif)
    assert decode_image(data, "test").shape == (10, 20, 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes(), "16 bits a channel"),
        (cv2.imencode(".png", np.zeros((4, 4, 3), np.uint16))[1].tobytes(), "16 bits a channel"),
        (cv2.imencode(".tiff", np.zeros((4, 4), np.uint16))[1].tobytes(), "pixels of Pillow mode I;16"),
        (encoded(Image.new("CMYK", (4, 4)), "JPEG"), "pixels of Pillow mode CMYK"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "pixels of Pillow mode F"),
        (b"", "0 bytes that are no image"),
        (b"<html>404 not found</html>", "26 bytes that are no image"),
        (encode_png(noise(64, 64))[:-2000], "unreadable image"),
        (encode_png(noise(64, 64))[:40], "40 bytes that are no image"),
        (encoded(Image.fromarray(noise(64, 64)), "JPEG")[:-900], "unreadable image"),
    ],
)
def test_what_is_no_whole_eight_bit_image_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(BenchError, match=found) as caught:
        decode_image(data, "scenes/fox/images/0001.png")
    assert caught.value.where == "scenes/fox/images/0001.png"


def test_a_flipped_byte_in_a_png_is_noticed() -> None:
    data = bytearray(encode_png(noise(64, 64)))
    positions = itertools.islice(range(100, len(data) - 100, 997), 8)
    for position in positions:
        broken = bytearray(data)
        broken[position] ^= 0x55
        with pytest.raises(BenchError, match="unreadable image"):
            decode_image(bytes(broken), "test")


def test_crop_leaves_pixels_and_focal_lengths_and_moves_the_centre() -> None:
    """480x270 to 448x256, as a patch size of 64 cuts it (cvg/depthsplat, src/dataset/shims/patch_shim.py)."""
    camera = some_camera(480, 270)
    image = np.random.default_rng(3).integers(0, 256, (270, 480, 3)).astype(np.uint8)
    prepared = prepare_image(image, camera, None, preparation(size=(448, 256), fit="crop"), "test")
    assert np.array_equal(prepared.image, image[7:263, 16:464])
    moved = camera.K - prepared.camera.K
    assert np.allclose(moved, [[0, 0, 16], [0, 0, 7], [0, 0, 0]])
    assert (prepared.camera.width, prepared.camera.height) == (448, 256)
    for size in ((481, 256), (448, 271)):
        with pytest.raises(BenchError, match=r"480 x 270 pixels; expected .* or more, since fit is crop"):
            prepare_image(image, camera, None, preparation(size=size, fit="crop"), "test")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """Some 100 bytes that would decode to 4.8 GB; what only wants to know the size refuses it too."""
    data = build_bomb()
    tracemalloc.start()
    for read in (decode_image, has_transparency):
        with pytest.raises(BenchError, match="promises 1600000000 pixels; expected at most 178956970 pixels"):
            read(data, "test")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    with pytest.raises(BenchError, match=r"bomb\.png: unreadable .*1600000000 pixels"):
        read_image_size(path)


def test_transparency_is_known_from_the_header() -> None:
    grey = Image.fromarray(noise(9, 7, 1)[:, :, 0])
    palette = Image.fromarray(noise(9, 7)).quantize(16)
    soft = Image.merge("LA", (grey, grey))
    expected = {
        encode_png(noise(9, 7)): False,
        encode_png(noise(9, 7, 4)): True,
        encoded(grey): False,
        encoded(soft): True,
        encoded(palette): False,
        encoded(palette, transparency=3): True,
        encoded(Image.fromarray(noise(9, 7)), "JPEG"): False,
    }
    for data, transparent in expected.items():
        assert has_transparency(data, "test") == transparent == (decode_image(data, "test").shape[2] == 4)
