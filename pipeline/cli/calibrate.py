"""``calibrate``: how the thermal picture lies in the visible one, from points, by refinement, or from OpenCV."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "calibrate"
HELP = "make or refine a calibration file that brings the thermal picture into the visible one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--visible", required=True, type=Path, metavar="PATH", help="visible picture, folder of pictures or video"
    )
    parser.add_argument("--thermal", required=True, type=Path, metavar="PATH", help="thermal one, at the same moment")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--points",
        type=Path,
        metavar="FILE",
        help="a line visible_x,visible_y,thermal_x,thermal_y in pixels for each of four or more points",
    )
    way.add_argument("--refine", type=Path, metavar="FILE", help="a calibration file to refine on the outlines")
    way.add_argument("--opencv", type=Path, metavar="FILE", help="an OpenCV storage file to take over")
    parser.add_argument("--plane-distance", type=float, metavar="M", help="distance of the points in metres, noted")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="calibration file to write")


def execute(arguments: argparse.Namespace) -> int:
    """Calibrate, write the file, and say how good it is."""
    from pipeline.adjustment import parallax_note
    from pipeline.calibrating import calibrate_points_file, import_opencv_file, refine_file
    from pipeline.calibration import write_calibration

    visible, thermal = arguments.visible, arguments.thermal
    if arguments.points is not None:
        calibration = calibrate_points_file(visible, thermal, arguments.points, arguments.plane_distance)
        found = f"the points are {calibration.rms_px:.2f} px off on average (rms)"
    elif arguments.refine is not None:
        refinement = refine_file(visible, thermal, arguments.refine)
        calibration = refinement.calibration
        found = (
            f"moved by up to {refinement.shift_px:.1f} px; outlines agree "
            f"{refinement.score:.2f} instead of {refinement.score_before:.2f}"
        )
    else:
        calibration = import_opencv_file(visible, thermal, arguments.opencv)
        found = "taken over"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_calibration(calibration, arguments.out)
    print(f"{found}\n{parallax_note(calibration)}\ncalibration: {arguments.out}")
    return 0
