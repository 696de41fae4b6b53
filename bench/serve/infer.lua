-- For wrk: posts the file that is its argument again and again. The second argument is the size of the JSON in it.
function init(args)
  wrk.method = "POST"
  wrk.body = assert(io.open(args[1], "rb")):read("*a")
  wrk.headers["Inference-Header-Content-Length"] = args[2]
end
