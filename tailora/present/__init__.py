"""Facts → sentences, tables, figures and pages. Reads the files of a run; decides nothing."""
