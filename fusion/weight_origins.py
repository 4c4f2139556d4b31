"""Where the official weights of the fusion methods are published."""

from __future__ import annotations

from fusion.weight_fetch import Origin, github_file

_AUIF = ("Zhaozixiang1228/IVIF-AUIF-Net", "8f54650ffbc0a9e655a0d4c6098751bedc319803")
_DIDFUSE = ("Zhaozixiang1228/DIDFuse", "5f287300dce7cbc90b9e08e6872455af6baa279f")
_DENSEFUSE = ("hli1221/densefuse-pytorch", "4394b63e9295db1c6b7a5c3664551c90f0605f2b")
_IFCNN = ("uzeful/IFCNN", "8fe59c2b1553e52acc793986208ca479d134a8da")


def _ifcnn(name: str, file: str, size_bytes: int, sha256: str) -> Origin:
    return Origin(
        name=name,
        files=(github_file(*_IFCNN, f"Code/snapshots/{file}", size_bytes, sha256),),
        licence="none stated (Zhang et al., Information Fusion 2020)",
    )


FUSION_ORIGINS: tuple[Origin, ...] = (
    Origin(
        name="auif",
        files=(
            github_file(
                *_AUIF,
                "Models/TCSVT_Encoder_Base.model",
                37619,
                "c4fe51b85637e3befc89b27e3cbb7a765aea37871eb4da4f58b471680ce7eb72",
            ),
            github_file(
                *_AUIF,
                "Models/TCSVT_Encoder_Detail.model",
                37619,
                "92e1ad6a4b7e5a2acc442a3a57c3b0e48a2af262f487942e42d81334de204726",
            ),
            github_file(
                *_AUIF,
                "Models/TCSVT_Decoder.model",
                1213,
                "7966d490bb4003821c8f20ce1197c22d020ab986850571c5dfa02b0defad8ad3",
            ),
        ),
        licence="none stated (Zhao et al., IEEE TCSVT 2021)",
    ),
    Origin(
        name="didfuse",
        files=(
            github_file(
                *_DIDFUSE,
                "Models/Encoder_weight_IJCAI.pkl",
                454838,
                "4d84a4e64e58469d3d4591f83c6683ead3e422498519db99bb617cb29d268471",
            ),
            github_file(
                *_DIDFUSE,
                "Models/Decoder_weight_IJCAI.pkl",
                600772,
                "c6974e2a7c66ab579a77bacb086023237a229e769d459783bad8ff43e52e9986",
            ),
        ),
        licence="none stated (Zhao et al., IJCAI 2020)",
    ),
    Origin(
        name="densefuse",
        files=(
            github_file(
                *_DENSEFUSE,
                "models/densefuse_gray.model",
                300413,
                "b34cf3650f04161b31ac2467decfeedf7eba39165b7618f846e0f298ecd2ac65",
            ),
        ),
        licence="none stated (Li and Wu, IEEE TIP 2019)",
    ),
    _ifcnn("ifcnn", "IFCNN-MAX.pth", 337094, "6022b44c88a2f0367ba9b08fcdf0d663745d9a966fca0ee1f41867797b6ff53f"),
    _ifcnn("ifcnn-mean", "IFCNN-MEAN.pth", 337079, "fd2ee9361f1d428fc9749e28e8a2c5c5ef6ce6528ab6f5ad8ef5def42e7ffa4b"),
    _ifcnn("ifcnn-sum", "IFCNN-SUM.pth", 337107, "a8c1d293f1bf16a93e6244a4bf8f7a7bd300dc10555c8597ad7ef3320b0410cb"),
)
"""What ``weights fetch`` can download for fusion; each commit is pinned, so that the address always means one file."""
