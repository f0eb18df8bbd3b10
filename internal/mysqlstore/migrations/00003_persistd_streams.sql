-- +goose NO TRANSACTION
-- +goose Up
-- One row per stream that was ever registered: its generation orders the rows of a stream that was deleted and made again.
CREATE TABLE IF NOT EXISTS persistd_streams (
    generation INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stream VARCHAR(255) NOT NULL,
    stream_created DATETIME(6) NOT NULL COMMENT 'UTC',
    registered_at DATETIME(6) NOT NULL COMMENT 'UTC',
    UNIQUE KEY unique_stream (stream, stream_created)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
