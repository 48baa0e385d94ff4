//! Tables with a header row, from `.xlsx` and `.csv` files, with row numbers as a spreadsheet program shows them.

use super::DataError;
use calamine::{Data, Reader, Xlsx};
use std::path::{Path, PathBuf};

/// The most columns: a prompt table has three; more than this is another kind of file, or a hostile one.
const MAX_COLUMNS: u32 = 256;
const MAX_ROWS: usize = 1_000_000;

pub(super) struct Row {
    /// The row's number as in a spreadsheet program: the header is row 1.
    pub number: usize,
    cells: Vec<String>,
}

impl Row {
    /// The cell's text without surrounding white space; empty where there is none.
    pub fn get(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", |cell| cell.trim())
    }
}

pub(super) struct Table {
    pub path: PathBuf,
    columns: Vec<String>,
    /// The rows that are not empty.
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads the first sheet of a workbook, or a CSV file by its extension.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let mut rows = if is_csv { read_csv(path)? } else { read_workbook(path)? };
        rows.retain(|row| row.cells.iter().any(|cell| !cell.trim().is_empty()));
        if rows.is_empty() {
            return Err(table_error(path, "it is empty"));
        }
        let header = rows.remove(0);
        let columns = header.cells.iter().map(|cell| cell.trim_start_matches('\u{feff}').trim().to_string()).collect();
        Ok(Self { path: path.into(), columns, rows })
    }

    /// The index of the column with this name, ignoring case.
    pub fn column(&self, name: &'static str) -> Result<usize, DataError> {
        self.find_column(name).ok_or_else(|| DataError::Header {
            path: self.path.clone(),
            column: name,
            found: self.columns.join(", "),
        })
    }

    pub fn find_column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// A cell that may not be empty.
    pub fn required<'a>(&self, row: &'a Row, column: usize, name: &'static str) -> Result<&'a str, DataError> {
        let text = row.get(column);
        if text.is_empty() {
            return Err(DataError::EmptyCell { path: self.path.clone(), row: row.number, column: name });
        }
        Ok(text)
    }
}

fn table_error(path: &Path, reason: impl ToString) -> DataError {
    DataError::Table { path: path.into(), reason: reason.to_string() }
}

fn read_csv(path: &Path) -> Result<Vec<Row>, DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut rows = Vec::new();
    for record in reader.records().take(MAX_ROWS) {
        let record = record.map_err(|error| table_error(path, error))?;
        let number = record.position().map_or(rows.len() + 1, |position| position.line() as usize);
        rows.push(Row { number, cells: record.iter().map(str::to_string).collect() });
    }
    Ok(rows)
}

/// Reads cell by cell: calamine's range would be as large as the sheet's farthest cell.
fn read_workbook(path: &Path) -> Result<Vec<Row>, DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut workbook =
        Xlsx::new(std::io::BufReader::new(file)).map_err(|error: calamine::XlsxError| table_error(path, error))?;
    let sheet = workbook.sheet_names().into_iter().next().ok_or_else(|| table_error(path, "it has no sheet"))?;
    let mut cells = workbook.worksheet_cells_reader(&sheet).map_err(|error| table_error(path, error))?;
    let mut rows: Vec<Row> = Vec::new();
    while let Some(cell) = cells.next_cell().map_err(|error| table_error(path, error))? {
        let (row, column) = cell.get_position();
        if column >= MAX_COLUMNS || rows.len() >= MAX_ROWS {
            return Err(table_error(path, "it is larger than a table of prompts can be"));
        }
        let number = row as usize + 1;
        if rows.last().is_none_or(|last| last.number != number) {
            rows.push(Row { number, cells: Vec::new() });
        }
        let (last, column) = (rows.len() - 1, column as usize);
        let cells = &mut rows[last].cells;
        if cells.len() <= column {
            cells.resize(column + 1, String::new());
        }
        cells[column] = Data::from(cell.get_value().clone()).to_string();
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_xlsxwriter::Workbook;

    fn workbook(rows: &[(u32, u16, &str)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.xlsx");
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet();
        for (row, column, text) in rows {
            sheet.write(*row, *column, *text).unwrap();
        }
        workbook.save(&path).unwrap();
        (directory, path)
    }

    #[test]
    fn keeps_spreadsheet_row_numbers_across_blank_rows() {
        let (_directory, path) =
            workbook(&[(0, 0, "Image"), (0, 1, "Description"), (3, 0, "a.png"), (3, 1, " a mass \n")]);
        let table = Table::read(&path).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].number, 4);
        let description = table.column("description").unwrap();
        assert_eq!(table.rows[0].get(description), "a mass");
    }

    #[test]
    fn names_the_missing_column_and_those_found() {
        let (_directory, path) = workbook(&[(0, 0, "File"), (0, 1, "Text"), (1, 0, "a.png")]);
        let error = Table::read(&path).unwrap().column("Image").unwrap_err().to_string();
        assert!(error.contains("`Image`") && error.contains("File, Text"), "{error}");
    }

    #[test]
    fn refuses_a_sheet_whose_cells_stand_far_apart() {
        let (_directory, path) = workbook(&[(0, 0, "Image"), (1_048_575, 16_383, "far")]);
        assert!(matches!(Table::read(&path), Err(DataError::Table { .. })));
    }

    #[test]
    fn refuses_text_that_is_called_a_workbook() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.xlsx");
        std::fs::write(&path, "Image,Description\n").unwrap();
        assert!(matches!(Table::read(&path), Err(DataError::Table { .. })));
    }

    #[test]
    fn reads_csv_with_a_byte_order_mark() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.csv");
        std::fs::write(&path, "\u{feff}Image,Description\na.png,\"one, two\"\n").unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.column("Image").unwrap(), 0);
        assert_eq!(table.rows[0].get(1), "one, two");
        assert_eq!(table.rows[0].number, 2);
    }
}
