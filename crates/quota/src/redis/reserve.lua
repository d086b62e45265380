-- Takes all amounts or none; the decision of `reserve.rs`, in one step.
--
-- ARGV[1]: now, in milliseconds since the Unix epoch. ARGV[2]: 'take', or 'look' to change nothing.
-- Then for each check: span ('m' minute, 'c' calendar, 'r' rolling, 'l' lease), amount, size, '1' if it decides, number
-- of older keys, and two numbers by span: m: what is left of the minute in ms; r: length of the window in ms; and when the
-- key expires, in ms since the Unix epoch.
-- KEYS: for each check its current key and then its older ones. A rolling window is one key, '<start in ms>,<used>'.
--
-- Returns 1 or 0 for admitted or not, and for each check: what the current window held before, what the older ones hold
-- together, and the start of a rolling window. Every number is below 2^53, so Lua's doubles are exact.

local MINUTE_MS = 60000
local SLACK_MS = 2 * MINUTE_MS

-- What a counter holds, and how far it is below zero.
local function held(key)
  local count = tonumber(redis.call('GET', key) or '0')
  return math.max(0, count), math.max(0, -count)
end

local function whole(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
local checks = {}
local admitted = 1
local next_key = 1

for at = 3, #ARGV, 7 do
  local check = {
    key = KEYS[next_key],
    span = ARGV[at],
    amount = tonumber(ARGV[at + 1]),
    expires = ARGV[at + 6],
    older = 0,
    start = 0,
    below = 0,
  }
  local extra = tonumber(ARGV[at + 5])
  for older = 1, tonumber(ARGV[at + 4]) do
    check.older = check.older + (held(KEYS[next_key + older]))
  end
  next_key = next_key + 1 + tonumber(ARGV[at + 4])

  if check.span == 'r' then
    local start, used = string.match(redis.call('GET', check.key) or '', '^(%d+),(-?%d+)$')
    check.start, check.current = now, 0
    if start and now < tonumber(start) + extra then
      check.start, check.current = tonumber(start), math.max(0, tonumber(used))
    end
    -- Redis has a clock of its own: were it ahead, the window would begin anew before its end. `now` decides, above.
    check.expires = whole(check.start + extra + SLACK_MS)
  else
    check.current, check.below = held(check.key)
  end

  local used = check.current + check.older
  if check.span == 'm' then
    -- older * left / 60,000, rounded up, without leaving the exact range.
    local minutes = math.floor(check.older / MINUTE_MS)
    local rest = check.older - minutes * MINUTE_MS
    used = check.current + minutes * extra + math.ceil(rest * extra / MINUTE_MS)
  end
  if ARGV[at + 3] == '1' and used + check.amount > tonumber(ARGV[at + 2]) then admitted = 0 end
  checks[#checks + 1] = check
end

if admitted == 1 and ARGV[2] == 'take' then
  for _, check in ipairs(checks) do
    if check.span == 'r' then
      local value = whole(check.start) .. ',' .. whole(check.current + check.amount)
      redis.call('SET', check.key, value, 'PXAT', check.expires)
    elseif check.amount > 0 then
      redis.call('INCRBY', check.key, whole(check.below + check.amount))
      redis.call('PEXPIREAT', check.key, check.expires)
    end
  end
end

local answer = { admitted }
for _, check in ipairs(checks) do
  answer[#answer + 1] = check.current
  answer[#answer + 1] = check.older
  answer[#answer + 1] = check.start
end
return answer
