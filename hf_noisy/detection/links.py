"""Groups of rows that links between pairs of rows make."""

import numpy as np
from jaxtyping import Int64, Integer


def linked_groups(
    one: Integer[np.ndarray, " links"], other: Integer[np.ndarray, " links"], num_rows: int
) -> Int64[np.ndarray, " rows"]:
    """The number of each row's group: rows that are linked, also through others, are in one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(num_rows, num_rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def first_of_group(group: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """The first row of the group of each row."""
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    return np.asarray(first[member], dtype=np.int64)
