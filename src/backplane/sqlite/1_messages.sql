-- AUTOINCREMENT: an id is never used twice, so that a reader's place stays right when old rows go.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bot TEXT NOT NULL, at_ms INTEGER NOT NULL, channel TEXT NOT NULL, body TEXT NOT NULL
);
