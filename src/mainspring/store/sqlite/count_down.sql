-- count_down.sql: waiting runs need so many fewer; returns how many each still needs
UPDATE runs SET needs_left = needs_left - ? WHERE id = ? AND state = 'waiting' RETURNING id, needs_left
