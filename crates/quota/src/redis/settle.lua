-- Adds to counters, each in a window of its own.
--
-- KEYS: one for each correction. ARGV, for each: 'n' or 'r' for a rolling window, what to add, and when the key expires in
-- ms since the Unix epoch, or the start of the rolling window that was charged. Returns the sum for each; 0 where the
-- rolling window is over: nobody will look at it again. What is given back ends at zero: after an operator's reset there is
-- less to give back than was charged.

-- What of `delta` goes below zero, to be put back.
local function beyond(sum, delta)
  return math.max(0, math.min(-sum, -delta))
end

local sums = {}
for at, key in ipairs(KEYS) do
  local kind, delta, third = ARGV[at * 3 - 2], ARGV[at * 3 - 1], ARGV[at * 3]
  if kind == 'n' then
    sums[at] = redis.call('INCRBY', key, delta)
    local back = beyond(sums[at], tonumber(delta))
    if back > 0 then sums[at] = redis.call('INCRBY', key, string.format('%.0f', back)) end
    -- In the past for a window that is over: then the key goes at once.
    redis.call('PEXPIREAT', key, third)
  else
    local start, used = string.match(redis.call('GET', key) or '', '^(%d+),(-?%d+)$')
    sums[at] = 0
    if start == third then
      sums[at] = tonumber(used) + tonumber(delta)
      sums[at] = sums[at] + beyond(sums[at], tonumber(delta))
      redis.call('SET', key, start .. ',' .. string.format('%.0f', sums[at]), 'KEEPTTL')
    end
  end
end
return sums
