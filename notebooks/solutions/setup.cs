// As ../setup.cs, one folder further down.
#r "../../lib/ReasonGen.Notebook/bin/Release/net10.0/ReasonGen.Notebook.dll"
using System.IO;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Optimization;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Served;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using ReasonGen.Training;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using static TorchSharp.torch;

Lab.Display ??= first => { var shown = display(first); return next => shown.Update(next); };
