-- +goose NO TRANSACTION
-- +goose Up
-- One row per run that began an attempt or was deleted. Places in the log are (generation, sequence); 0, 0 is none.
CREATE TABLE IF NOT EXISTS persistd_runs (
    run_id VARCHAR(255) NOT NULL PRIMARY KEY,
    attempt INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'the newest that has begun',
    attempt_gen INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'where it began',
    attempt_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    latest_attempt INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'the newest that has saved a step',
    deleted_gen INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'where the run was last deleted',
    deleted_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    updated_at DATETIME(6) NOT NULL COMMENT 'UTC'
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
