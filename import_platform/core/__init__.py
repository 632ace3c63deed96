"""Pure values and maths: nothing here reads, writes, logs, sleeps, rolls dice or asks the time."""
