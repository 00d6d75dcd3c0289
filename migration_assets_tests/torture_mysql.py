"""A MySQL database in which each line of the fidelity page occurs, and what must become of it."""

from __future__ import annotations

SCRIPT = r"""
SET time_zone = '+05:30';
CREATE TABLE numbers (
  id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, flag tinyint(1), two tinyint(1),
  tiny tinyint, utiny tinyint unsigned, small smallint, usmall smallint unsigned,
  medium mediumint, umedium mediumint unsigned, i int, ui int unsigned, big bigint,
  ubig bigint unsigned, padded int(8) unsigned zerofill, paddec decimal(8,2) zerofill,
  exact decimal(30,10), f float, d double, bit1 bit(1), bit10 bit(10) DEFAULT b'101',
  bit64 bit(64), y year
) AUTO_INCREMENT = 77;
INSERT INTO numbers VALUES
 (1,0,2,-128,255,-32768,65535,-8388608,16777215,-2147483648,4294967295,-9223372036854775808,
  18446744073709551615,42,12.5,-12345678901234567890.0123456789,3.14159274,0.1,b'1',b'1000000001',
  b'1111111111111111111111111111111111111111111111111111111111111111',2155),
 (2,1,0,127,0,32767,0,8388607,0,2147483647,0,9223372036854775807,0,0,0,0.0000000001,
  -1.17549435e-38,1.7976931348623157e308,b'0',b'0',b'0',0),
 (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,
  NULL,NULL,NULL),
 (4,1,1,1,1,1,1,1,1,1,1,1,9223372036854775808,1,1,1,16777217,-0e0,b'1',b'11',b'11',1901);

CREATE TABLE moments (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, dt datetime, dt6 datetime(6),
  ts timestamp NULL, ts3 timestamp(3) NULL, d date, clock time, clock3 time(3), span time(6),
  must date NOT NULL, kept datetime NOT NULL DEFAULT '0000-00-00 00:00:00'
);
INSERT INTO moments VALUES
 (1,'2024-02-29 23:59:59','1000-01-01 00:00:00.000001','2024-03-31 02:30:00',
  '2038-01-19 03:14:07.999','9999-12-31','23:59:59','00:00:00.001','838:59:59','2024-01-01',
  '2024-01-01 10:00:00'),
 (2,'0000-00-00 00:00:00','2024-00-15 10:00:00','0000-00-00 00:00:00',NULL,'2024-05-00','00:00:00',
  '12:00:00','-838:59:59.5','0000-00-00','2024-01-01 10:00:00'),
 (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'-00:00:01','2024-01-01','2024-01-01 10:00:00');

CREATE TABLE words (
  id int PRIMARY KEY, latin varchar(20) CHARACTER SET latin1, chinese varchar(20) CHARACTER SET gbk,
  three text CHARACTER SET utf8mb3, four varchar(10), fixed char(10),
  raw binary(4), bytes varbinary(10), big longblob, plain varchar(30) DEFAULT 'it''s \\ "x"',
  size enum('small','large','it''s') DEFAULT 'large', wrong enum('x','y'),
  many set('a','b','c d') DEFAULT 'a,b', doc json,
  noted longtext CHECK (json_valid(noted)), quick varchar(40) DEFAULT (uuid()),
  email varchar(40) COLLATE utf8mb4_general_ci, body text, nul varchar(10),
  UNIQUE KEY email_key (email), UNIQUE KEY plain_start (plain(5)), KEY body_start (body(20)),
  FULLTEXT KEY body_words (body, plain)
) CHARACTER SET utf8mb4 COMMENT 'all kinds of ''words''';
INSERT INTO words (id, latin, chinese, three, four, fixed, raw, bytes, big, plain, size, wrong,
  many, doc, email, body, nul) VALUES
 (1,'café €','中文','日本語 text','🐘 fits','ab  ',0x00FF,0x00FF0A,
  REPEAT('x',70000),'first','small','x','','{"b": 1.50, "a": [true, null, "\\u00e9"]}','A@x.org',
  'the quick brown fox',CONCAT('a',CHAR(0),'b')),
 (2,'','','','','',0x61626364,'','','second','it''s','','c d,a','[]','b@x.org',NULL,NULL),
 (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'third',NULL,NULL,NULL,NULL,NULL,NULL,NULL);

CREATE TABLE places (id int PRIMARY KEY, p point, g geometry NOT NULL, SPATIAL KEY where_ (g));
INSERT INTO places VALUES (1, POINT(1.5, -2), ST_GeomFromText('LINESTRING(0 0, 1 1)')),
 (2, NULL, ST_GeomFromText('POINT(8 47)', 4326));

CREATE TABLE owners (
  id char(36) PRIMARY KEY, name varchar(20) NOT NULL COMMENT 'as on the passport'
);
INSERT INTO owners VALUES ('01234567-89ab-cdef-0123-456789abcdef', 'Ann'),
 ('01234567-89ab-cdef-0123-456789abcdee', 'Bob');
CREATE TABLE pets (
  id smallint AUTO_INCREMENT PRIMARY KEY, owner char(36) NOT NULL, friend smallint,
  name varchar(20),
  CONSTRAINT pets_owner FOREIGN KEY (owner) REFERENCES owners (id)
    ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT pets_friend FOREIGN KEY (friend) REFERENCES pets (id) ON DELETE SET NULL
);
INSERT INTO pets VALUES (1,'01234567-89ab-cdef-0123-456789abcdef',NULL,'Rex'),
 (2,'01234567-89ab-cdef-0123-456789abcdee',1,'Tom');
SET foreign_key_checks = 0;
INSERT INTO pets VALUES (3,'01234567-89ab-cdef-0123-456789abcdee',99,'Ghost');
SET foreign_key_checks = 1;

CREATE TABLE computed (
  id int PRIMARY KEY, a int NOT NULL DEFAULT 7, b int DEFAULT -1, name varchar(20),
  total int AS (a + b) STORED, label varchar(50) AS (concat(name, '-', a)) VIRTUAL,
  big_one tinyint(1) AS (a > 10) VIRTUAL, secret int INVISIBLE,
  created datetime(3) DEFAULT current_timestamp(3),
  changed timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  price decimal(8,2) DEFAULT 9.90, day date DEFAULT (curdate()),
  CONSTRAINT a_not_negative CHECK (a >= 0), CHECK (name IN ('x', 'y', 'Z') OR name IS NULL),
  CHECK (char_length(name) < 5)
);
INSERT INTO computed (id, a, b, name, secret, created, changed) VALUES
 (1, 3, 4, 'x', 5, '2024-01-01 00:00:00.123', '2024-01-01 00:00:00'),
 (2, 30, NULL, 'Z', NULL, NULL, '2024-01-02 00:00:00');

CREATE TABLE parts (id int NOT NULL, year_ int NOT NULL, v varchar(5), PRIMARY KEY (id, year_))
 PARTITION BY RANGE (year_)
 (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parts VALUES (1,1999,'old'),(2,2020,'new');
CREATE TABLE `Odd ``Name"` (`select` int, `A` int, `é` int, `with.dot` int);
INSERT INTO `Odd ``Name"` VALUES (1,2,3,4),(1,2,3,4);
CREATE TABLE nothing (
  id int AUTO_INCREMENT PRIMARY KEY, size enum('a','b') NOT NULL, d date NOT NULL
);

CREATE VIEW rich AS SELECT o.name AS owner, count(p.id) AS pets, if(count(p.id) > 1, 'many',
  'one') AS how_many FROM owners o LEFT JOIN pets p ON p.owner = o.id GROUP BY o.id, o.name;
CREATE VIEW flags AS SELECT id, ifnull(two, -1) AS two, concat('n', id) AS n FROM numbers
  WHERE flag;
CREATE VIEW hashed AS SELECT id, md5(name) AS h, crc32(name) AS c FROM computed;
CREATE TRIGGER touch BEFORE INSERT ON owners FOR EACH ROW SET NEW.name = trim(NEW.name);
CREATE PROCEDURE nop() SELECT 1;
CREATE EVENT tick ON SCHEDULE EVERY 1 DAY DO DELETE FROM pets WHERE id < 0;
"""

TYPES = {
    "numbers": {
        "id": "bigint", "flag": "boolean", "two": "smallint", "tiny": "smallint",
        "utiny": "smallint", "small": "smallint", "usmall": "integer", "medium": "integer",
        "umedium": "integer", "i": "integer", "ui": "bigint", "big": "bigint",
        "ubig": "numeric(20,0)", "padded": "bigint", "paddec": "numeric(8,2)",
        "exact": "numeric(30,10)", "f": "real", "d": "double precision", "bit1": "boolean",
        "bit10": "bit(10)", "bit64": "bit(64)", "y": "smallint",
    },
    "moments": {
        "id": "bigint", "dt": "timestamp(0) without time zone",
        "dt6": "timestamp without time zone", "ts": "timestamp(0) with time zone",
        "ts3": "timestamp(3) with time zone", "d": "date", "clock": "time(0) without time zone",
        "clock3": "time(3) without time zone", "span": "interval", "must": "date",
        "kept": "timestamp(0) without time zone",
    },
    "words": {
        "id": "integer", "latin": "character varying(20)", "chinese": "character varying(20)",
        "three": "text", "four": "character varying(10)", "fixed": "character varying(10)",
        "raw": "bytea", "bytes": "bytea", "big": "bytea", "plain": "character varying(30)",
        "size": "words_size", "wrong": "words_wrong", "many": "text[]", "doc": "jsonb",
        "noted": "jsonb",
        "quick": "character varying(40)", "email": "character varying(40)", "body": "text",
        "nul": "character varying(10)",
    },
    "places": {"id": "integer", "p": "bytea", "g": "bytea"},
    "owners": {"id": "uuid", "name": "character varying(20)"},
    "pets": {
        "id": "smallint", "owner": "uuid", "friend": "smallint", "name": "character varying(20)",
    },
    "computed": {
        "id": "integer", "a": "integer", "b": "integer", "name": "character varying(20)",
        "total": "integer", "label": "character varying(50)", "big_one": "boolean",
        "secret": "integer", "created": "timestamp(3) without time zone",
        "changed": "timestamp(0) with time zone", "price": "numeric(8,2)", "day": "date",
    },
    "parts": {"id": "integer", "year_": "integer", "v": "character varying(5)"},
    'Odd `Name"': {"select": "integer", "A": "integer", "é": "integer", "with.dot": "integer"},
    "nothing": {"id": "integer", "size": "nothing_size", "d": "date"},
}  # fmt: skip
"""Table -> column -> its type as PostgreSQL prints it."""

LEDGER = {
    "zero_date:dt": 1, "zero_date:dt6": 1, "zero_date:ts": 1, "zero_date:d": 1,
    "zero_date:must": 1, "invalid_enum:wrong": 1, "nul_removed:nul": 1,
}  # fmt: skip
"""Rule and column -> entries."""

SKIPPED = {
    ("trigger", "touch"), ("routine", "nop"), ("event", "tick"), ("partitioning", "parts"),
    ("index", "where_"), ("view", "hashed"), ("default", "kept"),
}  # fmt: skip
"""What is reported instead of made."""
