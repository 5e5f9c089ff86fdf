# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that found a defect, made small. What each was is in docs/found.md, or here if it was the model's own."""

from __future__ import annotations

from model.program import Program, Step
from model.troubles import POINTS

STALE_HANDLE = Program(
    13,
    3,
    sequential=False,
    quick=True,
    steps=(
        Step(1, "write", (14268, 44859, 36571), -1, 0.0),
        Step(1, "hold", (52122, 16729, 37095), -1, 0.3),
        Step(2, "save_over", (4468, 55134, 64354), -1, 0.0),
        Step(0, "write_same", (50810, 19469, 29571), -1, 0.0),
        Step(1, "write", (18196, 44193, 54359), -1, 1.5),
        Step(1, "held_write", (18892, 32907, 41584), -1, 0.3),
        Step(1, "append", (58970, 11874, 4375), -1, 1.5),
    ),
)

DETACHED_HANDLE = Program(
    4138,
    3,
    sequential=False,
    quick=False,
    steps=(
        Step(2, "save_over", (11190, 30858, 35723), -1, 0.0),
        Step(0, "hold_new", (56373, 11295, 46835), -1, 0.0),
        Step(2, "hold", (2624, 16777, 25316), -1, 0.3),
        Step(1, "rewrite", (24790, 65170, 53968), -1, 20.0),
        Step(2, "held_commit", (37696, 36528, 2743), -1, 0.0),
        Step(2, "write", (40857, 9484, 32328), -1, 0.0),
        Step(2, "append", (47200, 43948, 24485), -1, 0.0),
        Step(2, "held_commit", (24772, 59649, 34868), -1, 0.0),
    ),
)

UNSEEN_COPY = Program(
    160,
    3,
    sequential=False,
    quick=False,
    steps=(
        Step(2, "partition", (13, 5515, 26571), -1, 0.0),
        Step(1, "write", (29792, 37187, 54121), -1, 0.3),
        Step(2, "write", (722, 42189, 15671), -1, 0.0),
        Step(1, "write", (28207, 23120, 20227), -1, 0.3),
        Step(2, "rename_copy", (33318, 16159, 45184), -1, 0.0),
    ),
)

REPLACED_COPY = Program(
    7366,
    5,
    sequential=False,
    quick=True,
    steps=(
        Step(0, "write", (2648, 581, 130), -1, 0.0),
        Step(0, "hold", (284, 230, 3721), -1, 0.3),
        Step(2, "hold", (466, 2492, 1269), -1, 1.5),
        Step(3, "rewrite", (56350, 1554, 45630), -1, 7.0),
        Step(2, "held_write", (15147, 3046, 288), -1, 0.001),
        Step(2, "write", (11265, 2518, 551), -1, 0.0),
        Step(1, "islands", (422, 19, 5553), 2, 0.0),
        Step(1, "restart", (422, 19, 5553), 2, 7.0),
        Step(4, "quiet", (3463, 61895, 309), 1, 0.012),
        Step(3, "rewrite", (211, 1106, 5778), -1, 0.3),
    ),
)

OPENED_BY_BOTH = Program(
    2970,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(1, "crash", (3191, 1304, 65535), -1, 0.0),
        Step(1, "backup", (7098, 6692, 463), -1, 0.3),
        Step(0, "mkdir", (4352, 20422, 347), -1, 0.012),
        Step(0, "drop", (42, 40, 324), 0, 20.0),
    ),
)

CRASHED_SAVE = Program(
    394,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "write", (0, 0, 0), -1, 0.0),
        Step(0, "hold", (0, 0, 0), -1, 0.0),
        Step(0, "fault", (POINTS.index("writing.committed"), 0, 0), -1, 0.0),
        Step(0, "save_stale", (0, 0, 0), -1, 0.0),
    ),
)
"""The version is made, and the crash takes the answer: the ledger has to know what is shown then (seed 100161)."""

CRASHED_SIZE = Program(
    394,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "write", (0, 3, 0), -1, 0.0),
        Step(0, "fault", (POINTS.index("writing.finalized"), 0, 0), -1, 0.0),
        Step(0, "truncate", (0, 3, 0), -1, 0.0),
    ),
)
"""The same, of a file that is extended."""

COPY_ELSEWHERE = Program(
    1,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "write", (0, 0, 0), -1, 0.0),
        Step(1, "write", (0, 0, 0), -1, 0.0),
        Step(0, "write", (0, 32765, 0), -1, 0.0),
        *(Step(0, "append", (0, 0, 0), -1, pause) for pause in (*[0.0] * 11, 0.012)),
        Step(0, "rewrite", (1, 17611, 0), -1, 0.0),
        *(Step(0, "append", (0, 0, 0), -1, 0.0) for _ in range(2)),
        Step(1, "rewrite", (1, 32765, 0), -1, 0.012),
        Step(1, "unlink", (1, 0, 0), -1, 0.0),
        Step(0, "append", (1, 0, 0), -1, 0.0),
        Step(0, "collect", (1, 0, 0), -1, 0.0),
    ),
)
"""Seed 79842 of the model as it was then."""

HELD_THEN_RENEWED = Program(
    seed=10032,
    devices=4,
    sequential=True,
    quick=True,
    steps=(
        Step(0, "brake_limit", (4633, 11709, 300), -1, 20.0),
        Step(0, "folder_make", (0, 500, 13730), -1, 0.0),
        Step(0, "folder_renew", (23491, 232, 403), -1, 1.5),
        Step(3, "folder_renew", (93, 851, 764), -1, 0.0),
    ),
)
"""Seed 194374: a file that replaces one whose removal is held, heard of before its folder."""

REMOVED_COPY = Program(
    seed=57,
    devices=2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "write", (220, 1846, 2206), -1, 0.0),
        Step(1, "write", (6101, 291, 1354), -1, 0.001),
        Step(0, "write", (5531, 28970, 65535), -1, 0.012),
        Step(0, "limit_name", (1347, 4751, 10896), 8, 1.5),
        Step(0, "brake_limit", (65535, 330, 33526), -1, 0.05),
        Step(0, "unlink_copy", (49790, 58, 65535), -1, 1.5),
        Step(0, "create_new", (1164, 718, 750), -1, 7.0),
        Step(1, "write", (62550, 1126, 105), -1, 0.0),
        Step(0, "rewrite", (6272, 1425, 162), -1, 0.3),
        Step(0, "restore_trash", (24595, 6408, 34), -1, 20.0),
        Step(1, "brake_purge", (1196, 20317, 201), -1, 0.3),
        Step(1, "folder_make", (2367, 11435, 2831), 8, 0.001),
        Step(0, "limit_size", (917, 1643, 7745), -1, 1.5),
        Step(0, "create_new", (280, 1496, 27601), 8, 0.012),
        Step(0, "truncate", (65535, 513, 4515), 1, 0.012),
    ),
)
"""Seed 195488: a conflict copy that waits to be removed is written to."""

SAID_BY_BOTH = Program(
    657,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "write_same", (316, 3906, 6045), -1, 0.001),
        Step(1, "folder_fill", (11861, 3463, 155), -1, 0.3),
        Step(0, "lie:two_histories", (279, 54991, 331), -1, 0.001),
        Step(0, "lie:certificates_apart", (61224, 2231, 22874), -1, 0.001),
    ),
    liar=True,
)
"""Seed 610004 with a liar: two honest devices said again what did not count of either, for ever."""

BEYOND_ITS_HEAD = Program(
    398,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "meet", (1, 964, 290), -1, 0.0),
        Step(0, "lie:two_histories", (1, 964, 290), -1, 7.0),
        Step(0, "link_remove_all", (49497, 4259, 106), -1, 0.3),
    ),
    liar=True,
)
"""Seed 620203 with a liar: a version beyond its author's head, which another device could not remove."""

PUT_BACK = Program(
    340,
    3,
    sequential=False,
    quick=True,
    steps=(
        Step(1, "meet", (7090, 26170, 1941), -1, 0.0),
        Step(0, "folder_make", (1356, 450, 337), -1, 1.5),
        Step(0, "down", (18, 28612, 508), 1, 0.0),
        Step(0, "weather", (65535, 649, 15428), -1, 0.012),
        Step(2, "folder_make", (814, 1581, 3457), -1, 0.05),
        Step(0, "unlink", (1210, 420, 9114), -1, 0.3),
        Step(1, "folder_rmdir", (18658, 52726, 19645), -1, 0.0),
        Step(0, "folder_rmdir", (317, 7331, 65534), -1, 0.3),
        Step(2, "fault_at", (20493, 1648, 3227), 2, 0.0),
    ),
)
"""Seed 813884: a device is put back from a backup, and what it had said before went beyond what it says now."""

NAMED_HISTORY = Program(
    138,
    3,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "liar_comes", (1, 2276, 308), -1, 0.0),
        Step(2, "limit_xattr", (6088, 2080, 489), -1, 1.5),
        Step(0, "unlink_copy", (65534, 5614, 15735), -1, 1.5),
        Step(1, "islands", (52622, 207, 504), -1, 0.0),
        Step(1, "limit_name", (88, 111, 22870), -1, 0.05),
        Step(0, "lie:two_histories", (25598, 53267, 34254), -1, 0.012),
    ),
    liar=True,
)
"""Seed 1310275 with a liar: those who held another history did not take the one that a removal names."""

ANOTHER_KIND = Program(
    484,
    3,
    sequential=False,
    quick=False,
    steps=(
        Step(1, "write", (65535, 934, 5808), -1, 0.012),
        Step(1, "lie:wrong_set_hash", (65535, 10, 7855), -1, 0.0),
        Step(1, "lie:takes_back_what_it_said", (3088, 5262, 173), -1, 0.0),
        Step(2, "lie:another_size_of_the_same_version", (640, 28053, 571), -1, 1.5),
    ),
    liar=True,
)
"""Seed 1310233 with a liar: a file that its author turned into a folder was subtracted from the number of folders."""

GAVE_WAY = Program(
    15507,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(1, "islands", (8, 4817, 1612), -1, 0.0),
        Step(1, "lie:pages_out_of_order", (8, 4817, 1612), -1, 0.012),
        Step(1, "lie:certificates_apart", (1934, 19444, 1183), -1, 7.0),
        Step(0, "brake_limit", (1384, 1065, 6134), 2, 1.5),
        Step(0, "meet", (114, 46, 1271), -1, 0.0),
        Step(1, "brake_purge", (68, 280, 7276), -1, 7.0),
    ),
    liar=True,
)
"""Seed 1310133 with a liar, the model's own: a brake held the removal of what gave way and was said again."""

LONGER_HISTORY = Program(
    5770,
    2,
    sequential=False,
    quick=True,
    steps=(
        Step(0, "brake_accept", (3361, 16941, 295), -1, 0.3),
        Step(0, "liar_comes", (3835, 0, 1300), -1, 0.0),
        Step(0, "lie:two_histories", (226, 147, 176), -1, 0.0),
        Step(0, "partition", (889, 491, 615), -1, 0.0),
        Step(0, "lie:folds_honest_authors", (3678, 2, 44484), -1, 7.0),
    ),
    liar=True,
)
"""Seed 1320062 with a liar: who held a longer history than the one that a removal names did not get that one."""

CYCLE_UNDONE = Program(
    1017,
    2,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "lie:cycle_of_folders", (39307, 1601, 582), -1, 0.3),
        Step(0, "lie:takes_back_what_it_said", (123, 421, 552), -1, 0.3),
    ),
    liar=True,
)
"""Seed 1320554 with a liar: a directory of a cycle, with a file in it, became a file itself."""

SET_BACK = Program(
    9720,
    3,
    sequential=False,
    quick=False,
    steps=(
        Step(2, "folder_make", (62565, 3989, 745), 5, 20.0),
        Step(2, "weather", (2191, 27910, 8123), -1, 1.5),
        Step(1, "write", (1196, 5585, 1231), -1, 1.5),
        Step(2, "held_write", (203, 1681, 6237), -1, 7.0),
        Step(0, "fault_at", (7306, 1, 303), -1, 0.0),
        Step(1, "write", (2241, 76, 12140), -1, 7.0),
        Step(0, "skew", (1114, 365, 209), -1, 0.012),
        Step(1, "islands", (16476, 65534, 3617), -1, 0.0),
    ),
    liar=True,
)
"""Seed 1320364: a clock that was set back after a restart kept a device from asking for what it had wanted before."""

TWO_WITHOUT_IT = Program(
    2474,
    5,
    sequential=False,
    quick=True,
    steps=(Step(2, "lie:lowers_others", (2115, 5945, 3399), -1, 0.0),),
    liar=True,
)
"""Seed 1320926 with a liar: two devices that had an author no more were asked in turn, the one that had it never."""

UNREADABLE_AGAIN = Program(
    42,
    3,
    sequential=False,
    quick=True,
    steps=(
        Step(1, "write", (8346, 949, 120), -1, 0.012),
        Step(1, "down", (420, 65534, 1207), -1, 1.5),
        Step(2, "lie:under_an_unknown_parent", (65535, 480, 155), -1, 0.0),
        Step(2, "lie:another_kind", (4265, 69, 215), -1, 0.001),
    ),
    liar=True,
)
"""Seed 1330356 with a liar: a record was replaced by one that nobody reads, and what it said stayed on some devices."""

COPIES_OF_IT = Program(
    1127,
    4,
    sequential=False,
    quick=True,
    steps=(
        Step(0, "lie:writes_a_file", (708, 5435, 7292), -1, 0.012),
        Step(1, "limit_mode", (280, 349, 35159), -1, 0.0),
        Step(0, "limit_xattr", (161, 113, 26099), -1, 7.0),
        Step(0, "down", (138, 754, 239), -1, 0.012),
        Step(0, "lie:many_versions", (265, 32201, 10), -1, 0.0),
        Step(2, "limit_rename", (316, 48, 1382), -1, 0.3),
    ),
    liar=True,
)
"""Seed 1330479 with a liar: copies that became files had versions that do not count since the liar was removed."""

NOTHING_BUT_AN_END = Program(
    6852,
    4,
    sequential=False,
    quick=False,
    steps=(
        Step(0, "lie:serves_content_badly", (231, 1, 1189), -1, 1.5),
        Step(2, "write_same", (10745, 1711, 327), -1, 0.0),
        Step(0, "limit_rename", (1259, 8423, 729), -1, 0.3),
        Step(3, "lie:covers_with_a_forged_version", (227, 2365, 1332), -1, 0.0),
    ),
    liar=True,
)
"""Seed 1350137 with a liar: an answer of no bytes was asked for again at once, for ever."""

HELD_THEN_A_FOLDER = Program(
    seed=564,
    devices=3,
    sequential=False,
    quick=True,
    steps=(
        Step(device=0, name="lie:records_without_end", numbers=(2308, 226, 8), turns=-1, pause=7.0),
        Step(device=1, name="lie:one_name_for_many", numbers=(27549, 48808, 4225), turns=-1, pause=20.0),
        Step(device=1, name="meet", numbers=(6547, 111, 108), turns=-1, pause=0.0),
        Step(device=0, name="lie:drops_what_others_need", numbers=(57041, 677, 2414), turns=-1, pause=7.0),
        Step(device=1, name="meet", numbers=(15008, 90, 49), turns=-1, pause=0.0),
        Step(device=1, name="lie:covers_without_a_version", numbers=(15008, 90, 49), turns=-1, pause=0.0),
        Step(device=1, name="lie:about_another_node", numbers=(5008, 4758, 8984), turns=-1, pause=20.0),
        Step(device=1, name="lie:dots_to_come", numbers=(53820, 242, 860), turns=-1, pause=20.0),
        Step(device=0, name="lie:takes_back_what_it_said", numbers=(3402, 494, 492), turns=-1, pause=20.0),
    ),
    liar=True,
)
"""Seed 1350027 with a liar: a look at a held removal let the author's later record out of quarantine."""

ALL = {
    "stale handle": STALE_HANDLE,
    "detached handle": DETACHED_HANDLE,
    "unseen copy": UNSEEN_COPY,
    "replaced copy": REPLACED_COPY,
    "opened by both": OPENED_BY_BOTH,
    "crashed save": CRASHED_SAVE,
    "crashed size": CRASHED_SIZE,
    "copy elsewhere": COPY_ELSEWHERE,
    "held, then renewed": HELD_THEN_RENEWED,
    "removed copy": REMOVED_COPY,
    "said by both": SAID_BY_BOTH,
    "put back": PUT_BACK,
    "beyond its head": BEYOND_ITS_HEAD,
    "named history": NAMED_HISTORY,
    "another kind": ANOTHER_KIND,
    "gave way": GAVE_WAY,
    "longer history": LONGER_HISTORY,
    "cycle undone": CYCLE_UNDONE,
    "set back": SET_BACK,
    "two without it": TWO_WITHOUT_IT,
    "unreadable again": UNREADABLE_AGAIN,
    "copies of it": COPIES_OF_IT,
    "nothing but an end": NOTHING_BUT_AN_END,
    "held, then a folder": HELD_THEN_A_FOLDER,
}
