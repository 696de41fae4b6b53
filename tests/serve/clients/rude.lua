-- For wrk: right requests and wrong ones in turn, from the files body, logits and image in a folder. Arguments: the folder,
-- and the size of the JSON in the body. Prints how many answers were right, wrong, refusals, and anything else.
local threads, requests, logits, turn = {}, {}, "", 0
right, wrong, refused, other = 0, 0, 0, 0 -- global, so that done() can read them

local function read(path)
  return assert(io.open(path, "rb")):read("*a")
end

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local body = read(args[1] .. "/body")
  local function post(text, json_size)
    return wrk.format("POST", nil, {["Inference-Header-Content-Length"] = json_size}, text)
  end
  local good = post(body, args[2])
  logits = read(args[1] .. "/logits")
  requests = {good, good, post(body:sub(1, 50)), good, post(body, "1"), good, post(body, "none"), good, post("{}"),
              good, post(read(args[1] .. "/image"), "0"), good, post(body:sub(1, -2), args[2])}
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function response(status, _, body)
  if status == 200 and body:sub(-#logits) == logits then
    right = right + 1
  elseif status == 200 then
    wrong = wrong + 1
  elseif (status == 400 or status == 429) and body:find('"error"', 1, true) then
    refused = refused + 1
  else
    other = other + 1
  end
end

function done(summary)
  for _, thread in ipairs(threads) do
    print(string.format("right %d wrong %d refused %d other %d unanswered %d", thread:get("right"), thread:get("wrong"),
      thread:get("refused"), thread:get("other"), summary.errors.connect + summary.errors.read + summary.errors.timeout))
  end
end
