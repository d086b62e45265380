-- Sets counters to zero. KEYS: theirs. A rolling window, '<start in ms>,<used>', goes on from where it began. Returns a 1.

for _, key in ipairs(KEYS) do
  local start = string.match(redis.call('GET', key) or '', '^(%d+),')
  if start then
    redis.call('SET', key, start .. ',0', 'KEEPTTL')
  else
    redis.call('DEL', key)
  end
end
return { 1 }
