"""Rotated boxes: a box's own frame, in which it stands upright, and the way back.

Everything that knows upright boxes only (bags of rows and columns, crops, refinement, labelers)
works in that frame: the photo turned around the middle of the box, so that its sides are level.

Shape letters: H W px of a photo, h w px of a crop.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.types import Corners

Image = NDArray[np.uint8]
REACH = 0.49
"""Px beyond a side at which the middle of a pixel still counts as touched."""
HALF = 128
"""Of a mask of 255: where it is cut after turning."""
QUARTER_TURN = 90.0


@dataclass(frozen=True, slots=True)
class Turn:
    """The frame of a rotated box: the photo's, moved to the middle of the box and turned.

    Attributes:
        middle: Of the box, px of the photo.
        size: Its width and height, px.
        angle: By which its sides are turned clockwise on the screen, radians, in [-pi/4, pi/4]:
            what is up in the photo stays up as well as it can.
    """

    middle: tuple[float, float]
    size: tuple[float, float]
    angle: float

    @classmethod
    def within(cls, corners: Corners, photo_wh: tuple[int, int]) -> Self:
        """The part of a rotated box that lies in a photo of this width and height, px."""
        turn = cls.of(corners)
        width, height = photo_wh
        photo = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
        hull = cv2.convexHull(np.array(corners, dtype=np.float32).reshape(4, 2))
        _, shared = cv2.intersectConvexConvex(hull, photo)
        if shared is None or len(shared) < 3:
            return turn
        there = turn.to_frame(shared.reshape(-1, 2).astype(np.float64))
        low, high = there.min(0), there.max(0)
        x, y = turn.to_photo((low + high)[None] / 2)[0].tolist()
        across, along = (high - low).tolist()
        return cls((x, y), (across, along), turn.angle)

    @classmethod
    def of(cls, corners: Corners) -> Self:
        """The smallest rectangle around four corners, which need not be a rectangle's."""
        points = np.array(corners, dtype=np.float32).reshape(4, 2)
        (x, y), (width, height), degrees = cv2.minAreaRect(points)
        while degrees > QUARTER_TURN / 2:
            degrees, width, height = degrees - QUARTER_TURN, height, width
        while degrees < -QUARTER_TURN / 2:
            degrees, width, height = degrees + QUARTER_TURN, height, width
        return cls((x, y), (width, height), math.radians(degrees))

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """The box in its frame, px, shape (4,)."""
        half = np.array(self.size) / 2
        return np.concatenate([-half, half])

    def to_frame(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the photo, px, shape (N, 2), in the frame, shape (N, 2)."""
        return np.asarray((points_xy - np.array(self.middle)) @ self._axes())

    def to_photo(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the frame, px, shape (N, 2), in the photo, shape (N, 2)."""
        return np.asarray(points_xy @ self._axes().T + np.array(self.middle))

    def extents(self, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
        """What upright boxes of the photo, shape (N, 4), cover in the frame, px, shape (N, 4)."""
        x0, y0, x1, y1 = np.moveaxis(boxes_xyxy, -1, 0)
        corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=-1).reshape(-1, 2)
        there = self.to_frame(corners).reshape(-1, 4, 2)
        return np.concatenate([there.min(1), there.max(1)], axis=1)

    def cut(self, image: Image, crop_xyxy: NDArray[np.int64]) -> Image:
        """A crop of the frame; pixels outside the photo come from its opposite side.

        Args:
            image: The photo or a mask, uint8, shape (H, W, 3) or (H, W).
            crop_xyxy: In px of the frame, half-open, shape (4,).

        Returns:
            uint8, shape (y1 - y0, x1 - x0, 3) or (y1 - y0, x1 - x0).
        """
        width, height = (crop_xyxy[2:] - crop_xyxy[:2]).tolist()
        # Pixel centers lie half a pixel off the grid lines on both sides.
        start = self.to_photo(_middle_of_pixel(crop_xyxy))[0] - 0.5
        matrix = np.concatenate([self._axes(), start[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(
            image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP
        )
        return np.asarray(cut, dtype=np.uint8)

    def put_back(
        self, mask: NDArray[np.bool_], crop_xyxy: NDArray[np.int64], area_xyxy: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """A mask of the frame in the photo.

        Args:
            mask: At the pixels of a crop, shape (h, w).
            crop_xyxy: That crop, px of the frame, shape (4,).
            area_xyxy: The part of the photo that is wanted, px, shape (4,).

        Returns:
            Shape (y1 - y0, x1 - x0) of the part.
        """
        width, height = (area_xyxy[2:] - area_xyxy[:2]).tolist()
        start = self.to_frame(_middle_of_pixel(area_xyxy))[0] - crop_xyxy[:2] - 0.5
        matrix = np.concatenate([self._axes().T, start[:, None]], axis=1)
        values = mask.astype(np.uint8) * np.uint8(255)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(values, matrix, (width, height), flags=flags) >= HALF)

    def _axes(self) -> NDArray[np.float64]:
        """Columns are the frame's axes in the photo, shape (2, 2)."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cosine, -sine], [sine, cosine]])


def corners_of(turn: Turn, box_xyxy: NDArray[np.float64]) -> Corners:
    """The corners in the photo of an upright box of a frame, px, shape (4,)."""
    x0, y0, x1, y1 = box_xyxy
    points = turn.to_photo(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points.tolist()
    return ax, ay, bx, by, cx, cy, dx, dy


def cross(corners: Corners) -> bool:
    """Whether the outline through four corners, in their order, crosses itself like a bow tie."""
    a, b, c, d = np.array(corners, dtype=np.float64).reshape(4, 2)
    return _are_across(a, b, c, d) or _are_across(b, c, d, a)


def uncrossed(corners: Corners) -> Corners:
    """The same corners in an order in which their outline does not cross itself."""
    if not cross(corners):
        return corners
    # Where sides cross, they are the diagonals, and each corner sees the middle another way.
    points = np.array(corners, dtype=np.float64).reshape(4, 2)
    x, y = (points - points.mean(0)).T
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[np.argsort(np.arctan2(y, x))].tolist()
    return ax, ay, bx, by, cx, cy, dx, dy


def _are_across(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> bool:
    """Whether the line from a to b crosses that from c to d between their ends, each (2,)."""

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def drawn_corners(box_xyxy: Sequence[float], corners: Corners | None) -> NDArray[np.float64]:
    """The corners that a drawing of a box has, px, one after the other around it, shape (4, 2).

    Args:
        box_xyxy: The upright box, px.
        corners: Those of a rotated one, where it is one.
    """
    if corners is not None:
        return np.array(corners, dtype=np.float64).reshape(4, 2)
    x0, y0, x1, y1 = box_xyxy
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def inside_corners(corners: Corners, area_xyxy: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The pixels of an area of the photo that the shape of four corners touches.

    Args:
        corners: Of the shape; its convex hull is taken.
        area_xyxy: In px of the photo, shape (4,).

    Returns:
        Pixels whose middle lies in the shape or less than half a pixel beside it, shape
        (y1 - y0, x1 - x0).
    """
    hull = cv2.convexHull(np.array(corners, dtype=np.float32).reshape(4, 2)).reshape(-1, 2)
    x0, y0, x1, y1 = area_xyxy.tolist()
    columns, rows = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
    inside = np.ones((y1 - y0, x1 - x0), dtype=bool)
    middle = hull.mean(0)
    for start, end in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        normal = np.array([end[1] - start[1], start[0] - end[0]], dtype=np.float64)
        length = float(np.linalg.norm(normal))
        if length > 0:
            normal *= np.sign((middle - start) @ normal) / length
            depth = (columns - start[0]) * normal[0] + (rows - start[1]) * normal[1]
            inside &= depth >= -REACH
    return inside


def _middle_of_pixel(area_xyxy: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the first pixel of an area, shape (1, 2)."""
    return area_xyxy[None, :2].astype(np.float64) + 0.5
