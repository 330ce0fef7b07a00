using static TorchSharp.torch;
ReasonGen.Core.NativeRuntime.EnsureLoaded();
Console.WriteLine(ReasonGen.Core.NativeRuntime.Preparation);
var a = rand(2048, 2048);
for (int r = 0; r < 3; r++) { var t = System.Diagnostics.Stopwatch.StartNew(); using var b = a.matmul(a); Console.WriteLine(t.ElapsedMilliseconds); }
Console.WriteLine(get_num_threads());
