-- Indexes, views and the trigger, made after the rows.
CREATE INDEX instruments_currency ON instruments (currency_code);
CREATE INDEX api_keys_live ON api_keys (user_id, expires_at) WHERE is_revoked = 0;
CREATE INDEX watchlist_items_instrument ON watchlist_items (instrument_id);
CREATE INDEX price_captures_latest ON price_captures (instrument_id, captured_at DESC);
CREATE INDEX price_captures_suspect ON price_captures (captured_at) WHERE is_suspect = 1;
CREATE INDEX daily_prices_day ON daily_prices (day);
CREATE INDEX alerts_item ON alerts (watchlist_id, instrument_id);
CREATE INDEX notifications_alert ON notifications (alert_id);
CREATE INDEX job_runs_recent ON job_runs (job_name, started_at DESC);
CREATE INDEX job_logs_problems ON job_logs (level, logged_at) WHERE level <> 'info';
CREATE INDEX users_name ON users (lower(display_name));
CREATE UNIQUE INDEX watchlists_one_default ON watchlists (user_id) WHERE is_default = 1;

CREATE VIEW latest_prices AS
SELECT i.id AS instrument_id, i.exchange_code, i.symbol, p.day, p.close, p.volume
FROM instruments AS i
JOIN daily_prices AS p ON p.instrument_id = i.id
WHERE p.day = (SELECT max(q.day) FROM daily_prices AS q WHERE q.instrument_id = i.id);

CREATE VIEW job_health AS
SELECT job_name,
       count(*) AS runs,
       sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failures,
       max(started_at) AS last_started_at
FROM job_runs
GROUP BY job_name;

CREATE VIEW unread_alerts AS
SELECT a.id AS alert_id, w.user_id, i.symbol, a.direction, a.threshold,
       strftime('%Y-%m', a.created_at) AS month
FROM alerts AS a
JOIN watchlists AS w ON w.id = a.watchlist_id
JOIN instruments AS i ON i.id = a.instrument_id
WHERE a.is_active = 1;

CREATE TRIGGER settings_touch AFTER UPDATE OF value ON settings
BEGIN
    UPDATE settings SET updated_at = CURRENT_TIMESTAMP WHERE name = NEW.name;
END;
