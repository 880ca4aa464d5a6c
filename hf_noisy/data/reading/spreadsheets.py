"""Excel files, by openpyxl."""

import io
from importlib.util import find_spec

import pyarrow as pa

from hf_noisy.data.reading.places import Part, Places
from hf_noisy.data.reading.raw_rows import RawRows, numbers_array


def read_spreadsheet(data: bytes, name: str) -> RawRows:
    """The rows of the first sheet, whose first row is the header; columns are strings."""
    if find_spec("openpyxl") is None:
        raise ImportError(f"'{name}' needs openpyxl: pip install 'hf-noisy[excel]', or save it as CSV")
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = [sheet.title for sheet in book.worksheets]
        cells = list(enumerate(book.worksheets[0].iter_rows(values_only=True), start=1))
    except Exception as error:  # whatever becomes of a damaged file
        raise ValueError(f"'{name}' is no .xlsx file, or damaged; save it as CSV") from error
    if len(sheets) > 1:
        raise ValueError(f"'{name}' has {len(sheets)} sheets, {', '.join(sheets)}; save the one to read as CSV")
    rows = [(number, values) for number, values in cells if any(value is not None for value in values)]
    if len(rows) < 2:
        raise ValueError(f"'{name}' has no rows below a header")
    (first, header), *rows = rows
    kept = [position for position, cell in enumerate(header) if cell is not None]
    names = [str(header[position]).strip() for position in kept]
    if len(set(names)) < len(names):
        raise ValueError(f"row {first} of '{name}' names a column twice; rename one")
    columns = {
        column: pa.array(
            [None if cells[position] in (None, "") else str(cells[position]) for _, cells in rows], pa.string()
        )
        for column, position in zip(names, kept, strict=True)
    }
    return RawRows(pa.table(columns), Places([Part(name, "row", numbers_array(row for row, _ in rows))]), untyped=True)
