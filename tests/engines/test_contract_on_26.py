"""The runtime contract and a choice of the attacks (SAFETY.md B7), on Docker 26.1.

The tests are those of tests/runtimes, word for word: what they take (`bench`, `docker_engine`) is another
engine here.
"""

from tests.runtimes.test_contract import *  # noqa: F403
from tests.runtimes.test_docker import (  # noqa: F401
    hook,
    test_admitted_image_runs_though_its_tag_was_moved,
    test_container_of_our_name_made_by_hand_is_not_adopted,
    test_container_removed_behind_our_back_is_not_observed_and_is_gone,
    test_device_nodes_cannot_be_made,
    test_directory_below_the_home_is_mounted_where_asked,
    test_image_with_preload_gets_no_devices,
    test_images_own_groups_are_not_the_persons,
    test_limits_are_the_requests,
    test_link_that_leaves_the_roots_is_not_permitted,
    test_memory_hog_is_ended_in_its_own_group,
    test_missing_source_is_an_error_and_is_never_created,
    test_missing_workdir_below_a_mount_is_never_created_on_the_host,
    test_neighbours_closed_directory_cannot_be_mounted,
    test_paused_container_is_seen_as_such_and_can_be_killed,
    test_setuid_file_on_a_mount_is_worth_nothing,
    test_setuid_root_in_the_image_gives_nothing,
    test_swapped_directory_never_shows_the_neighbours,
    test_volume_of_an_image_is_memory_of_a_bounded_size,
    test_what_is_no_directory_or_file_cannot_be_mounted,
)
