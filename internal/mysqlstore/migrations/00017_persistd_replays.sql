-- +goose NO TRANSACTION
-- +goose Up
-- One row per partition of a replay: what of the log it applies again, and how far it is. All times are UTC by the database's clock.
CREATE TABLE IF NOT EXISTS persistd_replays (
    name VARCHAR(255) NOT NULL,
    partition_no INT UNSIGNED NOT NULL,
    generation INT UNSIGNED NOT NULL COMMENT 'of the log',
    asked TEXT NOT NULL COMMENT 'what it was started with',
    after_seq BIGINT UNSIGNED NOT NULL COMMENT 'it applies the events after this one',
    until_seq BIGINT UNSIGNED NOT NULL COMMENT 'up to and with this one',
    position BIGINT UNSIGNED NOT NULL COMMENT 'and is that far',
    started_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (name, partition_no)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
