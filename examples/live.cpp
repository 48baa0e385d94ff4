// A host with live frames, in C++: live BUNDLE PROMPT FRAMES
//
// A bright disc moves through dark frames; the stream finds it, and halfway the host changes the prompt.

#include "causalclipseg.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

namespace ccs = causalclipseg;

namespace {

constexpr std::uint32_t width = 320, height = 240;

std::vector<std::uint8_t> draw(int step) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) * height, 20);
    const int centre = 60 + step % 200;
    for (int y = 0; y < static_cast<int>(height); ++y) {
        for (int x = 0; x < static_cast<int>(width); ++x) {
            if ((x - centre) * (x - centre) + (y - 120) * (y - 120) < 40 * 40) {
                pixels[static_cast<std::size_t>(y) * width + static_cast<std::size_t>(x)] = 230;
            }
        }
    }
    return pixels;
}

int run(const char *bundle, const char *prompt, int frames) {
    const ccs::Model model{std::string(bundle)};
    std::printf("%s, %u pixels a side\n", model.info().name, model.info().input_size);

    // One picture, now.
    ccs::Session session(model);
    const ccs::Prompt encoded = model.prompt(prompt);
    const auto pixels = draw(0);
    session.segment(ccs::frame(CCS_FORMAT_GRAY8, pixels.data(), pixels.size(), width, height), {&encoded});
    std::printf("%zu contours, %llu pixels\n", session.contours(0).size(),
                static_cast<unsigned long long>(session.measure(0).area_px));
    try {
        session.mask(1);
    } catch (const ccs::Error &error) {
        std::printf("as it should be: %s\n", error.what());
    }

    // Frames as they arrive.
    std::atomic<unsigned> results{0};
    std::atomic<std::uint64_t> generation{0};
    auto options = ccs::sized<ccs_stream_options>();
    options.deadline_ms = 33;
    options.lower_rate = 1;
    options.measure = 1;
    ccs::Stream stream({&model}, {prompt}, [&](const ccs_event &event) {
        if (event.kind == CCS_EVENT_FRAME && event.finding_count > 0 && event.findings[0].mask != nullptr) {
            ++results;
            generation = event.prompt_generation;
        }
    }, &options);
    for (int step = 0; step < frames; ++step) {
        const auto picture = draw(step);
        stream.submit(ccs::frame(CCS_FORMAT_GRAY8, picture.data(), picture.size(), width, height),
                      static_cast<std::uint64_t>(step) * 33'000);
        if (step == frames / 2) {
            stream.set_prompts({"a dark area", prompt});
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    const ccs_statistics before = stream.statistics();
    stream.finish();
    std::printf("%llu frames submitted, %u results, prompts %llu\n",
                static_cast<unsigned long long>(before.submitted), results.load(),
                static_cast<unsigned long long>(generation.load()));
    return results > 0 ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s BUNDLE PROMPT FRAMES\n", argv[0]);
        return 2;
    }
    int status = 1;
    try {
        status = run(argv[1], argv[2], std::atoi(argv[3]));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    if (ccs_open_handles() != 0) {
        std::fprintf(stderr, "handles are left\n");
        status = 1;
    }
    return status;
}
