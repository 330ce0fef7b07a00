using System.Xml.Linq;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class NuGetPackagesTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("*", "13.0.4", "Newtonsoft.Json, 13.0.4 (this program's own)")]
    [InlineData("*", "14.0.1", "Newtonsoft.Json, 13.0.4 (this program's own)")]
    [InlineData("13.0.4", "13.0.4", "Newtonsoft.Json, 13.0.4 (this program's own)")]
    [InlineData("12.0.3", "12.0.3", "Newtonsoft.Json, 13.0.4 (this program's own, which runs in place of 12.0.3)")]
    public void What_runs_is_told_where_it_is_the_programs_own(string asked, string restored, string said)
    {
        var packages = Read("Newtonsoft.Json", restored, asked);
        Assert.Equal(said, Assert.Single(packages.Versions));
        Assert.Empty(packages.Runtime);
    }

    [Fact]
    public void A_package_that_is_loaded_is_told_as_it_was_restored()
    {
        var packages = Read("Some.Package", "1.2.3", "*");
        Assert.Equal("Some.Package, 1.2.3", Assert.Single(packages.Versions));
        Assert.Equal(folder.At("Some.Package", "lib/Some.Package.dll"), Assert.Single(packages.Runtime));
    }

    [Fact]
    public void Further_sources_are_part_of_what_is_restored()
    {
        var project = XDocument.Parse(NuGetPackages.Project([("X", "1.0")], ["/a & b", "https://x/$(y)/%20"]));
        Assert.Equal("/a & b;https://x/%24(y)/%2520",
            Assert.Single(project.Descendants("RestoreAdditionalProjectSources")).Value);
        Assert.DoesNotContain("Sources", NuGetPackages.Project([("X", "1.0")], []));
    }

    private RestoredPackages Read(string name, string version, string asked)
    {
        folder.Write($"{name}/lib/{name}.dll", "");
        var files = new JObject { [$"lib/{name}.dll"] = new JObject() };
        return NuGetPackages.Read(new JObject
        {
            ["packageFolders"] = new JObject { [folder.Path] = new JObject() },
            ["targets"] = new JObject
            {
                ["net10.0"] = new JObject
                {
                    [$"{name}/{version}"] =
                        new JObject { ["type"] = "package", ["compile"] = files, ["runtime"] = files.DeepClone() },
                },
            },
            ["libraries"] = new JObject { [$"{name}/{version}"] = new JObject { ["path"] = name } },
        }, [(name, asked)]);
    }

    public void Dispose() => folder.Dispose();
}
